"""News that the next page shows: that what a form asked for is done."""

from registry.api.responses import Answer
from registry.api.web import cookies
from registry.api.web.languages import Catalogue
from registry.api.web.services import WebServices
from registry.api.web.view import Flash, FlashKind, View


def told(services: WebServices, view: View, path: str, text: str, kind: FlashKind = FlashKind.SUCCESS) -> Answer:
    """The way to a page that shows them."""
    return services.pages.redirect(view, path, cookies=cookies.flash(Flash(text, kind), is_https=services.is_https))


def disabled_now(say: Catalogue, name: str, *, is_disabled: bool) -> str:
    """What is told of an account that was disabled, or enabled again."""
    text = say.gettext("%(name)s is disabled now.") if is_disabled else say.gettext("%(name)s is enabled again.")
    return text % {"name": name}
