"""What happened in a repository: where its tags have pointed to, and how to bring that back."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web import cookies
from registry.api.web.asked import Asked
from registry.api.web.repository import PLACE, framed, moved
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import Flash, FlashKind, View
from registry.core.access import Action
from registry.core.digest import Digest
from registry.core.errors import ManifestUnknown
from registry.core.names import Tag
from registry.services.audits import Filter
from registry.services.contents import TagChange

ROWS = 50


@dataclass(frozen=True, slots=True)
class Happening:
    """A change of a tag as a line shows it."""

    change: TagChange
    is_current: bool
    """Whether the tag still points to this."""
    restorable: Digest | None
    """What the tag can be pointed to again."""

    @property
    def what(self) -> str:
        """`made`, `moved` or `deleted`."""
        if self.change.digest is None:
            return "deleted"
        return "made" if self.change.before is None else "moved"


async def get_activity(services: WebServices, visit: Visit, view: View) -> Answer:
    """The changes of all tags, or of one, newest first."""
    asked = Asked.of(view)
    text = asked.text("tag", max_chars=128)
    tag = Tag.parse(text) if text else None
    after = asked.position("after", tuple[int])
    frame = await framed(services, visit, "activity")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    before = None if after is None else after[0]
    found = await services.hub.contents.history(visit.access, tag, before=before, count=ROWS)
    values = {
        "frame": frame,
        "tag": text,
        "events": happenings(found.changes, is_first_page=after is None),
        "next": None if found.next_before is None else view.link(after=cursors.write((found.next_before,))),
        "first": None if after is None else view.link(),
    }
    if view.is_htmx:
        return services.pages.fragment(view, "activity.html", "events", values)
    return services.pages.render(view, "activity.html", values)


def happenings(changes: Sequence[TagChange], *, is_first_page: bool) -> list[Happening]:
    """Lines of a page. Only the first page knows which of them is the last of its tag."""
    found: list[Happening] = []
    seen: set[str] = set()
    lost = {change.digest for change in changes if not change.is_held}
    for change in changes:
        is_last = is_first_page and change.tag not in seen
        seen.add(change.tag)
        if change.digest is None:
            again = change.before if (is_last or not is_first_page) and change.before not in lost else None
        else:
            again = change.digest if change.is_held and not is_last else None
        found.append(Happening(change, is_last and change.digest is not None, again))
    return found


async def post_restore(services: WebServices, visit: Visit, view: View) -> Answer:
    """Point a tag to what it has pointed to."""
    form = visit.body
    tag, digest = Tag.parse(form.text("tag")), Digest.parse(form.text("digest"))
    path = f"{PLACE}{visit.access.name}/-/tags/{tag}"
    gettext = services.pages.texts(view).gettext
    try:
        await services.hub.tagging.point(visit.access, tag, digest)
    except ManifestUnknown:
        news = Flash(gettext("What the tag pointed to is not here any more."), FlashKind.DANGER)
        path = f"{PLACE}{visit.access.name}/-/activity"
    else:
        news = Flash(gettext("The tag points to it again."))
    return services.pages.redirect(view, path, cookies=cookies.flash(news, is_https=services.is_https))


async def get_audit(services: WebServices, visit: Visit, view: View) -> Answer:
    """Everything that was done to it and in it since it was made, newest first: an earlier one of its name had other
    admins. Only admins of the instance see from where."""
    before = Asked.of(view).position("after", tuple[int, int])
    frame = await framed(services, visit, "activity")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    found = await services.hub.audits.page(
        Filter(repository=frame.name, since=frame.repository.created_at), before=before, count=ROWS
    )
    values = {
        "frame": frame,
        "rows": found.rows,
        "shows_addresses": view.caller is not None and view.caller.is_admin,
        "next": None if found.next_before is None else view.link(after=cursors.write(found.next_before)),
        "first": None if before is None else view.link(),
    }
    return services.pages.render(view, "repository-audit.html", values)


ROUTES = (
    WebRoute("activity", "GET", "/r/{repository}/-/activity", Action.PULL, get_activity),
    WebRoute("repository-audit", "GET", "/r/{repository}/-/audit", Action.ADMINISTER, get_audit),
    WebRoute("restore-tag", "POST", "/r/{repository}/-/restore-tag", Action.PUSH, post_restore),
)
