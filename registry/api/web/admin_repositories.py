"""All repositories as one table, for admins: found, ordered, and changed many at a time."""

from dataclasses import dataclass
from enum import StrEnum

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.explore import paged
from registry.api.web.forms import Form
from registry.api.web.languages import Catalogue
from registry.api.web.narrowing import address, choices, narrowed, wanted
from registry.api.web.news import told
from registry.api.web.refusals import NOTHING_WRONG, Refusal, wrong
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import FlashKind, View
from registry.core.access import Action, Visibility
from registry.core.errors import FieldInvalid
from registry.services.bulk import Outcome

PATH = "/admin/repositories"
BY_NAME = "name"


class Deed(StrEnum):
    """What can be done to many."""

    PUBLIC = "public"
    PRIVATE = "private"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what is to be done to it."""

    deed: Deed
    names: tuple[str, ...]

    @classmethod
    def of(cls, form: Form) -> "Choice":
        """Raises FieldInvalid."""
        word = form.text("deed")
        if word not in set(Deed):
            raise FieldInvalid(f"deed is one of: {', '.join(Deed)}", field="deed")
        return cls(Deed(word), tuple(dict.fromkeys(form.all("name"))))


async def get_repositories(services: WebServices, visit: Visit, view: View) -> Answer:
    """Every one, whoever may see it."""
    asked = narrowed(view, BY_NAME)
    found = await services.hub.browse.repositories(visit.caller.principal, wanted(view, asked))
    say = services.pages.texts(view)
    values = {
        "asked": asked,
        "choices": choices(asked, say, is_signed_in=True),
        "sort": asked.sort,
        "outcomes": None,
        **paged(view, found),
    }
    if view.is_htmx:
        answer = services.pages.fragment(view, "admin-repositories.html", "results", values)
        answer.headers.append((b"hx-replace-url", address(view.path, asked).encode()))
        return answer
    return services.pages.render(view, "admin-repositories.html", values)


async def post_choice(services: WebServices, visit: Visit, view: View) -> Answer:
    """What would become of those that were chosen: nothing is changed yet."""
    choice = Choice.of(visit.body)
    if not choice.names:
        text = services.pages.texts(view).gettext("No repository was chosen.")
        return told(services, view, PATH, text, FlashKind.WARNING)
    return await _question(services, view, choice)


async def _question(services: WebServices, view: View, choice: Choice, problem: Refusal = NOTHING_WRONG) -> Answer:
    values = {
        "choice": choice,
        "outcomes": await services.hub.bulk.look(choice.names),
        "text": _asked(choice, services.pages.texts(view)),
        "problem": problem,
    }
    return services.pages.render(view, "admin-repositories-choice.html", values, status=problem.status)


async def post_change(services: WebServices, visit: Visit, view: View) -> Answer:
    """Do it, and show what became of each."""
    choice, say = Choice.of(visit.body), services.pages.texts(view)
    if choice.deed is Deed.DELETE and visit.body.text("confirm") != str(len(choice.names)):
        return await _question(services, view, choice, wrong(confirm=say.gettext("That is not what was asked for.")))
    outcomes = await _changed(services, visit, choice)
    values = {"choice": choice, "outcomes": outcomes, "done": sum(one.problem is None for one in outcomes)}
    return services.pages.render(view, "admin-repositories-changed.html", values)


async def _changed(services: WebServices, visit: Visit, choice: Choice) -> list[Outcome]:
    bulk = services.hub.bulk
    if choice.deed is Deed.DELETE:
        return await bulk.delete(choice.names, visit.permit)
    return await bulk.set_visibility(choice.names, Visibility(choice.deed.value), visit.permit)


def _asked(choice: Choice, say: Catalogue) -> str:
    count = len(choice.names)
    text = {
        Deed.PUBLIC: say.ngettext("Make %(count)s repository public?", "Make %(count)s repositories public?", count),
        Deed.PRIVATE: say.ngettext("Make %(count)s repository private?", "Make %(count)s repositories private?", count),
        Deed.DELETE: say.ngettext("Delete %(count)s repository?", "Delete %(count)s repositories?", count),
    }[choice.deed]
    return text % {"count": str(count)}


ROUTES = (
    WebRoute("admin-repositories", "GET", PATH, Action.INSTANCE, get_repositories),
    WebRoute("admin-repositories-choose", "POST", PATH, Action.INSTANCE, post_choice),
    WebRoute("admin-repositories-change", "POST", f"{PATH}/change", Action.INSTANCE, post_change, danger=True),
)
