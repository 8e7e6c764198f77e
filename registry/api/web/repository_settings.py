"""What the admins of a repository set: its description, who has access, who may see it, its name, its end."""

from typing import Any

from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.asked import Asked
from registry.api.web.news import told
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried, wrong
from registry.api.web.repository import PLACE, framed, moved
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action, Role, Visibility
from registry.core.errors import (
    AccountInvalid,
    AccountNameInvalid,
    AccountUnknown,
    Conflict,
    Denied,
    FieldInvalid,
    NameInvalid,
    RegistryError,
)
from registry.core.names import RepositoryName
from registry.services.repositories import RepositoryChange

ROWS = 100
_HERE = "/r/{repository}/-/settings"
_ROLES = {"none": Role.NONE, "read": Role.READ, "write": Role.WRITE, "admin": Role.ADMIN}


async def get_settings(services: WebServices, visit: Visit, view: View) -> Answer:
    """Description, former names, and what needs care."""
    return await _settings(services, visit, view, {})


async def _settings(
    services: WebServices, visit: Visit, view: View, given: dict[str, str], problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame = await framed(services, visit, "settings")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    values: dict[str, Any] = {
        "frame": frame,
        "page": "general",
        "in_dialog": True,
        "given": {"description": frame.repository.description, "name": frame.name, "confirmation": ""} | given,
        "problem": problem,
        "aliases": await services.hub.repositories.aliases(visit.access),
    }
    return services.pages.render(view, "repository-settings.html", values, status=problem.status)


async def post_description(services: WebServices, visit: Visit, view: View) -> Answer:
    """Say in a sentence what it is."""
    text = visit.body.text("description")
    done = await tried(services.hub.repositories.update(visit.access, RepositoryChange(description=text)), FieldInvalid)
    texts = services.pages.texts(view)
    if isinstance(done, RegistryError):
        return await _settings(services, visit, view, {"description": text}, refusal(texts, done))
    return _done(services, visit, view, texts.gettext("The description is saved."))


async def post_visibility(services: WebServices, visit: Visit, view: View) -> Answer:
    """Say who may pull without a role."""
    text = visit.body.text("visibility")
    if text not in set(Visibility):
        raise FieldInvalid("visibility is public or private", field="visibility")
    await services.hub.repositories.update(visit.access, RepositoryChange(visibility=Visibility(text)))
    gettext = services.pages.texts(view).gettext
    is_public = text == Visibility.PUBLIC.value
    return _done(services, visit, view, gettext("It is public now.") if is_public else gettext("It is private now."))


async def post_name(services: WebServices, visit: Visit, view: View) -> Answer:
    """Rename it, or move it to another namespace."""
    text = visit.body.text("name")
    texts = services.pages.texts(view)
    try:
        new = RepositoryName.parse(text)
        mover = None if visit.caller.principal.account_id is None else visit.caller.principal
        await services.hub.repositories.move(visit.access, new, mover)
    except (NameInvalid, Conflict, AccountUnknown, AccountInvalid, Denied) as error:
        fields = {NameInvalid: "name", AccountUnknown: "name", AccountInvalid: "name", Denied: "name"}
        return await _settings(services, visit, view, {"name": text}, refusal(texts, error, fields))
    return told(services, view, f"{PLACE}{new}/-/settings", texts.gettext("It has its new name."))


async def post_alias(services: WebServices, visit: Visit, view: View) -> Answer:
    """Give a former name up."""
    await services.hub.repositories.remove_alias(visit.access, RepositoryName.parse(visit.body.text("name")))
    gettext = services.pages.texts(view).gettext
    return _done(services, visit, view, gettext("The name is free for others now."))


# Access


async def get_access(services: WebServices, visit: Visit, view: View) -> Answer:
    """Who has access, and why."""
    return await _access(services, visit, view, ("", "read"))


async def _access(
    services: WebServices, visit: Visit, view: View, given: tuple[str, str], problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame = await framed(services, visit, "settings")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    after = Asked.of(view).position("after", tuple[int, int])
    found = await services.hub.roles.standings(visit.access, after=after, count=ROWS + 1)
    shown, has_more = found[:ROWS], len(found) > ROWS
    values = {
        "frame": frame,
        "page": "access",
        "standings": shown,
        "next": view.link(after=cursors.write(shown[-1].position)) if has_more else None,
        "first": None if after is None else view.link(),
        "given": {"holder": given[0], "role": given[1]},
        "problem": problem,
    }
    return services.pages.render(view, "repository-access.html", values, status=problem.status)


async def post_access(services: WebServices, visit: Visit, view: View) -> Answer:
    """Give somebody a role, or take it away."""
    form = visit.body
    holder, role = form.text("holder"), form.text("role")
    if role not in _ROLES:
        raise FieldInvalid(f"role is one of: {', '.join(_ROLES)}", field="role")
    texts = services.pages.texts(view)
    done = await tried(
        services.hub.roles.give(visit.access, holder, _ROLES[role]), AccountUnknown, AccountInvalid, AccountNameInvalid
    )
    if isinstance(done, RegistryError):
        if role == "none":
            raise done
        problem = wrong(400, holder=texts.gettext("There is no such user, robot or team."))
        if isinstance(done, AccountInvalid):
            problem = wrong(400, holder=texts.gettext("An organization has no role: its members and teams have."))
        return await _access(services, visit, view, (holder, role), problem)
    news = texts.gettext("The role is taken away.") if role == "none" else texts.gettext("The role is given.")
    return told(services, view, f"{PLACE}{visit.access.name}/-/settings/access", news)


# The end


async def get_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """Ask whether that is meant."""
    return await _question(services, visit, view)


async def post_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """Delete it, if its name was typed."""
    texts = services.pages.texts(view)
    if visit.body.text("confirmation") != visit.access.name:
        return await _question(services, visit, view, wrong(400, confirmation=texts.gettext("That is not its name.")))
    await services.hub.repositories.begin_delete(visit.access)
    text = texts.gettext("%(name)s is deleted.") % {"name": visit.access.name}
    return told(services, view, "/repositories" if view.caller is not None else "/", text)


async def _question(services: WebServices, visit: Visit, view: View, problem: Refusal = NOTHING_WRONG) -> Answer:
    frame = await framed(services, visit, "settings")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    values = {"frame": frame, "page": "general", "in_dialog": False, "problem": problem}
    return services.pages.render(view, "repository-delete.html", values, status=problem.status)


def _done(services: WebServices, visit: Visit, view: View, text: str) -> Answer:
    return told(services, view, f"{PLACE}{visit.access.name}/-/settings", text)


ROUTES = (
    WebRoute("repository-settings", "GET", _HERE, Action.ADMINISTER, get_settings),
    WebRoute("description", "POST", f"{_HERE}/description", Action.ADMINISTER, post_description),
    WebRoute("visibility", "POST", f"{_HERE}/visibility", Action.ADMINISTER, post_visibility, danger=True),
    WebRoute("repository-name", "POST", f"{_HERE}/name", Action.ADMINISTER, post_name, danger=True),
    WebRoute("alias", "POST", f"{_HERE}/aliases", Action.ADMINISTER, post_alias),
    WebRoute("repository-access", "GET", f"{_HERE}/access", Action.ADMINISTER, get_access),
    WebRoute("role", "POST", f"{_HERE}/access", Action.ADMINISTER, post_access),
    WebRoute("repository-deletion", "GET", f"{_HERE}/delete", Action.ADMINISTER, get_delete),
    WebRoute("delete-repository", "POST", f"{_HERE}/delete", Action.ADMINISTER, post_delete, danger=True),
)
