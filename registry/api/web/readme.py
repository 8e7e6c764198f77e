"""The README of a repository: its form, with a look at what becomes of it; and the star that somebody gives."""

from typing import Any

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.news import told
from registry.api.web.refusals import NOTHING_WRONG, Refusal, tried, wrong
from registry.api.web.repository import PLACE, Frame, framed, moved
from registry.api.web.sayings import said
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import FieldInvalid, PreconditionFailed, RegistryError, Unauthenticated
from registry.services.administration import version
from registry.services.repositories import readme_state


async def get_readme(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form, with what is there."""
    frame = await framed(services, visit, "overview")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    found = await services.hub.repositories.readme(visit.access)
    text = "" if found is None else found.markdown
    return await _form(services, view, frame, {"text": text, "version": version(readme_state(found))})


async def post_readme(services: WebServices, visit: Visit, view: View) -> Answer:
    """Save it, unless somebody else has meanwhile."""
    form = visit.body
    text, seen = form.raw("readme"), form.text("version")
    done = await tried(
        services.hub.repositories.put_readme(visit.access, text, if_match=seen or None),
        FieldInvalid,
        PreconditionFailed,
    )
    texts = services.pages.texts(view)
    if not isinstance(done, RegistryError):
        return told(services, view, f"{PLACE}{visit.access.name}", texts.gettext("The README is saved."))
    if isinstance(done, PreconditionFailed):
        # What it is now has been told: to save once more is meant.
        seen = str(done.facts["current"])
        problem = wrong(
            409,
            readme=texts.gettext("Somebody else has changed it meanwhile. Saving again puts yours in its place."),
        )
    else:
        problem = wrong(400, readme=said(texts, done))
    frame = await framed(services, visit, "overview")
    return await _form(services, view, frame, {"text": text, "version": seen}, problem)


async def post_preview(services: WebServices, visit: Visit, view: View) -> Answer:
    """What becomes of the text of the form; nothing is saved."""
    form = visit.body
    values = {"text": form.raw("readme"), "version": form.text("version")}
    if view.is_htmx:
        preview = await services.markdown.render(values["text"])
        return services.pages.fragment(view, "readme.html", "preview", {"preview": preview})
    return await _form(services, view, await framed(services, visit, "overview"), values)


async def _form(
    services: WebServices, view: View, frame: Frame, values: dict[str, Any], problem: Refusal = NOTHING_WRONG
) -> Answer:
    preview = await services.markdown.render(values["text"])
    named = {"frame": frame, "preview": preview, "problem": problem, **values}
    return services.pages.render(view, "readme.html", named, status=problem.status)


async def post_star(services: WebServices, visit: Visit, view: View) -> Answer:
    """Give a star, or take it back."""
    if view.caller is None:
        raise Unauthenticated("sign in first")
    await services.hub.repositories.star(visit.access, is_starred=visit.body.text("star") == "on")
    frame = await framed(services, visit, "overview")
    if view.is_htmx:
        return services.pages.fragment(view, "repository.html", "star", {"frame": frame})
    return services.pages.redirect(view, frame.path)


_HERE = "/r/{repository}/-"
ROUTES = (
    WebRoute("readme-form", "GET", f"{_HERE}/readme", Action.ADMINISTER, get_readme),
    WebRoute("readme", "POST", f"{_HERE}/readme", Action.ADMINISTER, post_readme),
    WebRoute("readme-preview", "POST", f"{_HERE}/readme/preview", Action.ADMINISTER, post_preview),
    WebRoute("star", "POST", f"{_HERE}/star", Action.PULL, post_star),
)
