"""What the pages stand on."""

from dataclasses import dataclass

from registry.api.hub.services import HubServices
from registry.api.web.assets import Assets
from registry.api.web.markdown import Markdown
from registry.api.web.pages import Pages
from registry.services.clock import Clock


@dataclass(frozen=True, slots=True)
class WebServices:
    """What the handlers of pages call: `hub` has the use cases, the same that the API calls."""

    hub: HubServices
    pages: Pages
    assets: Assets
    markdown: Markdown
    clock: Clock
    is_https: bool
    """Whether cookies are for TLS only."""
