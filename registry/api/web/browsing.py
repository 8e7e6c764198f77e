"""The pages that people browse: lists and repositories, as one table."""

from registry.api.web import (
    activity,
    api_pages,
    deletion,
    explore,
    founding,
    manifests,
    mine,
    namespaces,
    readme,
    repository,
    repository_settings,
    tags,
)

ROUTES = (
    *explore.ROUTES,
    *namespaces.ROUTES,
    *mine.ROUTES,
    *founding.ROUTES,
    *repository.ROUTES,
    *readme.ROUTES,
    *tags.ROUTES,
    *manifests.ROUTES,
    *deletion.ROUTES,
    *activity.ROUTES,
    *repository_settings.ROUTES,
    *api_pages.ROUTES,
)
