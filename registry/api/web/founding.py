"""A new repository, made by hand: who owns it, what it is called, who may see it."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.asked import Asked
from registry.api.web.forms import Form
from registry.api.web.news import told
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, wrong
from registry.api.web.repository import PLACE
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action, Visibility
from registry.core.errors import Conflict, Denied, FieldInvalid, NameInvalid, NameUnknown
from registry.services.repositories import RepositoryChange


async def get_new(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form."""
    given = {
        "namespace": Asked.of(view).text("namespace"),
        "name": "",
        "description": "",
        "visibility": Visibility.PRIVATE.value,
    }
    return await _form(services, visit, view, given)


async def post_new(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make it."""
    form: Form = visit.body
    given = {name: form.text(name) for name in ("namespace", "name", "description", "visibility")}
    texts = services.pages.texts(view)
    if given["visibility"] not in set(Visibility):
        raise FieldInvalid("visibility is public or private", field="visibility")
    try:
        name = f"{given['namespace']}/{given['name']}"
        inside = await services.hub.gate.into(visit, name, Action.PUSH)
        wanted = RepositoryChange(description=given["description"], visibility=Visibility(given["visibility"]))
        await services.hub.repositories.create(inside.access, wanted, actions=inside.actions)
    except (Denied, NameUnknown) as error:
        if error.facts.get("field") == "visibility":
            text = texts.gettext("Only the owners of the namespace choose that: others take what it gives.")
            return await _form(services, visit, view, given, wrong(403, visibility=text))
        text = texts.gettext("You may not make repositories there.")
        return await _form(services, visit, view, given, wrong(403, namespace=text))
    except Conflict:
        text = texts.gettext("There is a repository of this name, or one that had it.")
        return await _form(services, visit, view, given, wrong(409, name=text))
    except (NameInvalid, FieldInvalid) as error:
        return await _form(services, visit, view, given, refusal(texts, error, {NameInvalid: "name"}))
    return told(services, view, f"{PLACE}{name}", texts.gettext("The repository is there."))


async def _form(
    services: WebServices, visit: Visit, view: View, given: dict[str, str], problem: Refusal = NOTHING_WRONG
) -> Answer:
    spaces = await services.hub.browse.spaces(visit.caller.principal)
    asked = given["namespace"]
    if asked and asked not in spaces:
        spaces = [*spaces, asked]
    values = {"spaces": [(name, name) for name in spaces], "given": given, "problem": problem}
    return services.pages.render(view, "new.html", values, status=problem.status)


ROUTES = (
    WebRoute("new-repository-form", "GET", "/new", Action.SELF, get_new),
    WebRoute("new-repository", "POST", "/new", Action.SELF, post_new),
)
