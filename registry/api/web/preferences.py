"""The switches at the foot of every page: language and theme, kept in cookies, with or without an account."""

from registry.api.asgi import Headers
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.cookies import kept
from registry.api.web.languages import language_of
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import LANGUAGE_COOKIE, THEME_COOKIE, Theme, View, place_of
from registry.core.access import Action
from registry.core.errors import FieldInvalid


async def post_preferences(services: WebServices, visit: Visit, view: View) -> Answer:
    """Keep a choice, and come back."""
    form = visit.body
    cookies: Headers = []
    if form.has("language"):
        language = language_of(form.text("language"))
        if language is None:
            raise FieldInvalid("no such language", field="language")
        cookies += kept(LANGUAGE_COOKIE, language.code, is_https=services.is_https)
    if form.has("theme"):
        if form.text("theme") not in set(Theme):
            raise FieldInvalid("theme is auto, light or dark", field="theme")
        cookies += kept(THEME_COOKIE, form.text("theme"), is_https=services.is_https)
    return services.pages.redirect(view, place_of(form.text("next")), cookies=cookies)


ROUTES = (WebRoute("preferences", "POST", "/preferences", Action.LOGIN, post_preferences),)
