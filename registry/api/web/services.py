"""What the pages stand on."""

from dataclasses import dataclass

from registry.api.hub.services import HubServices
from registry.api.web.assets import Assets
from registry.api.web.markdown import Markdown
from registry.api.web.pages import Pages
from registry.auth.challenge import Origins
from registry.core.errors import RouteUnknown
from registry.services.clock import Clock
from registry.services.entrance import Entrance
from registry.services.login import Login


@dataclass(frozen=True, slots=True)
class Signing:
    """What signing in and up stands on."""

    entrance: Entrance
    login: Login
    provider: str = ""
    """What people call the identity provider."""
    sign_up_is_open: bool = False


@dataclass(frozen=True, slots=True)
class WebServices:
    """What the handlers of pages call: `hub` has the use cases, the same that the API calls."""

    hub: HubServices
    pages: Pages
    assets: Assets
    markdown: Markdown
    clock: Clock
    origins: Origins
    is_https: bool
    """Whether cookies are for TLS only."""
    doors: Signing | None = None
    """None where the registry is open to everybody."""

    @property
    def signing(self) -> Signing:
        """Raises RouteUnknown where nobody can sign in."""
        if self.doors is None:
            raise RouteUnknown("this registry is open to everybody: it has no accounts")
        return self.doors
