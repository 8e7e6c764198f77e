"""One's own access tokens: seen, made, revoked."""

from functools import partial

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.lists import PAGE_ROWS, next_page, number_asked, number_of
from registry.api.web.news import told
from registry.api.web.questions import Question, ask
from registry.api.web.refusals import refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.token_forms import Place, TokenForm, token_form, token_shown
from registry.api.web.view import View
from registry.auth.opaque import TokenKind
from registry.core.access import Action
from registry.core.errors import InvalidRequest, RegistryError

PATH = "/settings/tokens"


async def get_tokens(services: WebServices, visit: Visit, view: View) -> Answer:
    """Every one, with when it was used last."""
    account, after = visit.caller.principal.name, number_asked(visit, "after") or 0
    found = await services.hub.tokens.page(account, TokenKind.PERSONAL, after=after, count=PAGE_ROWS + 1)
    values = {
        "tokens": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda token: token.id),
        "revoke": partial(revoke_question, services, view, PATH),
    }
    return services.pages.render(view, "settings-tokens.html", values)


async def get_new(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form for a new one."""
    return token_form(services, view, _place(visit))


async def post_token(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make one, and show its secret this once."""
    place, filled = _place(visit), TokenForm.of(visit.body)
    found = await tried(made_token(services, visit, place.account, filled), InvalidRequest)
    if isinstance(found, RegistryError):
        return token_form(services, view, place, filled, refusal(services.pages.texts(view), found))
    return token_shown(services, view, place, filled.name, found)


async def made_token(services: WebServices, visit: Visit, account: str, filled: TokenForm) -> str:
    """A new token's secret. Raises FieldInvalid, NameInvalid, AccountInvalid, Conflict, Denied, AccountUnknown."""
    tokens = services.hub.tokens
    _, secret = await tokens.create(
        account,
        filled.name,
        filled.limits,
        visit.permit,
        life_s=filled.life_s,
        under=visit.caller.principal,
    )
    return secret


async def get_revoke(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether one is to be revoked."""
    return ask(services, view, revoke_question(services, view, PATH, number_asked(visit, "token") or 0))


async def post_revoke(services: WebServices, visit: Visit, view: View) -> Answer:
    """Revoke one, and the logins that were begun with it."""
    account = visit.caller.principal.name
    await services.hub.tokens.revoke(number_of(visit.body, "token"), visit.permit, account=account)
    return told(services, view, PATH, services.pages.texts(view).gettext("The token is revoked."))


def revoke_question(services: WebServices, view: View, path: str, token_id: int) -> Question:
    """What is asked before."""
    say = services.pages.texts(view)
    return Question(
        f"revoke-{token_id}",
        say.gettext("Revoke the token?"),
        page=f"{path}/revoke?token={token_id}",
        action=f"{path}/revoke",
        button=say.gettext("Revoke"),
        back=path,
        lines=(say.gettext("Whatever uses it is kept out within seconds, and cannot be let in by it again."),),
        fields=(("token", str(token_id)),),
    )


def _place(visit: Visit) -> Place:
    return Place(visit.caller.principal.name, action=PATH, back=PATH)


ROUTES = (
    WebRoute("tokens", "GET", PATH, Action.ACCOUNT, get_tokens),
    WebRoute("token-page", "GET", f"{PATH}/new", Action.ACCOUNT, get_new, danger=True),
    WebRoute("token-create", "POST", PATH, Action.ACCOUNT, post_token, danger=True),
    WebRoute("token-revoke-page", "GET", f"{PATH}/revoke", Action.ACCOUNT, get_revoke),
    WebRoute("token-revoke", "POST", f"{PATH}/revoke", Action.ACCOUNT, post_revoke),
)
