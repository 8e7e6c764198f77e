"""The form for a new token, of one's own account or of a robot: what it says, and the page that shows the secret."""

from dataclasses import dataclass

from registry.api.responses import Answer
from registry.api.web.forms import Form
from registry.api.web.inside import Frame
from registry.api.web.refusals import NOTHING_WRONG, Refusal
from registry.api.web.services import WebServices
from registry.api.web.snippets import Credential, snippets
from registry.api.web.view import View
from registry.core.access import TokenLimits, TokenScope
from registry.core.errors import FieldInvalid

DAY_S = 86_400
LIVES_DAYS = ("7", "30", "90", "365", "")
"""What can be chosen; empty is for ever."""
DEFAULT_LIFE_DAYS = "90"
RIGHTS: dict[str, frozenset[TokenScope]] = {
    "pull": frozenset({TokenScope.READ}),
    "push": frozenset({TokenScope.WRITE}),
    "delete": frozenset({TokenScope.WRITE, TokenScope.DELETE}),
    "everything": frozenset({TokenScope.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class TokenForm:
    """What was filled in."""

    name: str = ""
    rights: str = "push"
    repositories: str = ""
    life_days: str = DEFAULT_LIFE_DAYS

    @classmethod
    def of(cls, form: Form) -> "TokenForm":
        """From what was sent."""
        return cls(form.text("name"), form.text("rights"), form.raw("repositories"), form.text("life"))

    @property
    def limits(self) -> TokenLimits:
        """Raises FieldInvalid."""
        scopes = RIGHTS.get(self.rights)
        if scopes is None:
            raise FieldInvalid("rights is one of the choices", field="rights")
        entries = tuple(self.repositories.split())
        return TokenLimits(scopes, entries or None)

    @property
    def life_s(self) -> int | None:
        """Seconds until it ends, None for never. Raises FieldInvalid."""
        if self.life_days not in LIVES_DAYS:
            raise FieldInvalid("life is one of the choices", field="life")
        return int(self.life_days) * DAY_S if self.life_days else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a form for a token stands: whose it is, and the pages around it."""

    account: str
    action: str
    back: str
    template: str = "settings-token-new.html"
    shown: str = "settings-token-shown.html"
    frame: Frame | None = None
    """The namespace of a robot."""


def token_form(
    services: WebServices,
    view: View,
    place: Place,
    filled: TokenForm | None = None,
    problem: Refusal = NOTHING_WRONG,
) -> Answer:
    """The form."""
    values = {"place": place, "filled": filled or TokenForm(), "problem": problem, "lives": LIVES_DAYS}
    return services.pages.render(view, place.template, values, status=problem.status)


def token_shown(services: WebServices, view: View, place: Place, name: str, secret: str) -> Answer:
    """The secret, this once, and where to put it."""
    origin = services.origins.issuer
    credential = Credential(services.origins.service(None), place.account, secret, origin.startswith("https:"))
    values = {
        "place": place,
        "name": name,
        "secret": secret,
        "snippets": snippets(credential, services.pages.texts(view)),
    }
    return services.pages.render(view, place.shown, values)
