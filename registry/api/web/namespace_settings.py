"""What owners of a namespace set, and its end."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.inside import Frame, frame_of, organization_of
from registry.api.web.news import told
from registry.api.web.profiles import ProfileForm, changed
from registry.api.web.questions import Question, ask, unconfirmed
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import RegistryError

PATH = "/u/{namespace}/settings"
DELETE_PATH = "/u/{namespace}/delete"


async def get_settings(services: WebServices, visit: Visit, view: View) -> Answer:
    """What is said of it, and what its new repositories are."""
    frame = frame_of(visit)
    filled = ProfileForm.of_profile(await services.hub.accounts.profile(frame.name))
    return _form(services, view, frame, filled)


async def post_settings(services: WebServices, visit: Visit, view: View) -> Answer:
    """Set them."""
    frame, filled = frame_of(visit), ProfileForm.of(visit.body)
    found = await tried(changed(services, frame.name, filled, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return _form(services, view, frame, filled, refusal(say, found))
    return told(services, view, f"{frame.path}/settings", say.gettext("The settings are kept."))


def _form(
    services: WebServices, view: View, frame: Frame, filled: ProfileForm, problem: Refusal = NOTHING_WRONG
) -> Answer:
    values = {"frame": frame, "filled": filled, "problem": problem}
    return services.pages.render(view, "namespace-settings.html", values, status=problem.status)


async def get_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """What is in the organization, and whether it is to end."""
    return await _deletion(services, visit, view)


async def post_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """End it, with everything but repositories, which keep it from that."""
    frame = organization_of(visit)
    again = unconfirmed(services, visit, view, _question(services, view, frame))
    if again is not None:
        return await _deletion(services, visit, view, again=True)
    found = await tried(services.hub.accounts.delete(frame.name, visit.permit, kind="organization"))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _deletion(services, visit, view, refusal(say, found))
    return told(services, view, "/organizations", say.gettext("%(name)s is gone.") % {"name": frame.name})


async def _deletion(
    services: WebServices, visit: Visit, view: View, problem: Refusal = NOTHING_WRONG, *, again: bool = False
) -> Answer:
    frame = organization_of(visit)
    contents = await services.hub.accounts.contents(frame.name)
    if contents.repositories:
        values = {"frame": frame, "contents": contents, "problem": problem}
        return services.pages.render(view, "namespace-full.html", values, status=problem.status)
    say = services.pages.texts(view)
    items = tuple(
        text % {"count": str(count)}
        for count, text in (
            (contents.members, say.ngettext("%(count)s member", "%(count)s members", contents.members)),
            (contents.teams, say.ngettext("%(count)s team", "%(count)s teams", contents.teams)),
            (contents.robots, say.ngettext("%(count)s robot", "%(count)s robots", contents.robots)),
        )
        if count
    )
    question = _question(services, view, frame, items)
    asked_again = unconfirmed(services, visit, view, question) if again else None
    return asked_again or ask(services, view, question, problem)


def _question(services: WebServices, view: View, frame: Frame, items: tuple[str, ...] = ()) -> Question:
    say = services.pages.texts(view)
    return Question(
        "delete-organization",
        say.gettext("Delete the organization %(name)s?") % {"name": frame.name},
        page=f"{frame.path}/delete",
        action=f"{frame.path}/delete",
        button=say.gettext("Delete for ever"),
        back=f"{frame.path}/settings",
        lines=(say.gettext("Its name is never given out again. It holds no repositories; what goes with it:"),),
        items=items,
        word=frame.name,
    )


ROUTES = (
    WebRoute("namespace-settings", "GET", PATH, Action.GOVERN, get_settings),
    WebRoute("namespace-settings-set", "POST", PATH, Action.GOVERN, post_settings),
    WebRoute("namespace-delete-page", "GET", DELETE_PATH, Action.GOVERN, get_delete, danger=True),
    WebRoute("namespace-delete", "POST", DELETE_PATH, Action.GOVERN, post_delete, danger=True),
)
