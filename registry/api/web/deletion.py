"""Deleting tags and manifests: first what that would mean, then the question, then the deed."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.news import told
from registry.api.web.repository import Frame, framed
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.tags import ROWS as TAGS_SHOWN
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.digest import Digest
from registry.core.errors import FieldInvalid
from registry.core.names import Tag
from registry.services.remove import TagsRemoval


@dataclass(frozen=True, slots=True)
class Group:
    """Tags of one manifest that go, and those of it that stay."""

    digest: Digest
    going: list[str]
    staying: list[str]

    @property
    def is_left_alone(self) -> bool:
        """Whether no tag points to it then."""
        return not self.staying


async def post_tags(services: WebServices, visit: Visit, view: View) -> Answer:
    """Delete tags, or ask whether that is meant."""
    form = visit.body
    names = [Tag.parse(text) for text in form.all("tag")]
    if len(names) > TAGS_SHOWN:
        raise FieldInvalid(f"at most {TAGS_SHOWN} tags at once", field="tag")
    frame = await framed(services, visit, "tags")
    plan = await services.hub.remove.tags(visit.access, names, dry_run=True)
    if not form.has("confirmed") or not plan.tags:
        return _ask_tags(services, view, frame, plan)
    await services.hub.remove.tags(visit.access, names)
    if form.has("manifests") and plan.left is not None:
        await _remove_leftovers(services, visit, plan.left.untagged)
    texts = services.pages.texts(view)
    text = texts.ngettext("The tag is deleted.", "%(count)s tags are deleted.", len(plan.tags)) % {
        "count": len(plan.tags)
    }
    return told(services, view, f"{frame.path}/-/tags", text)


def _ask_tags(services: WebServices, view: View, frame: Frame, plan: TagsRemoval) -> Answer:
    values = {"frame": frame, "groups": groups(plan), "is_cut": plan.left is not None and plan.left.is_cut}
    if view.is_htmx:
        return services.pages.fragment(view, "tag-deletion.html", "question", values)
    return services.pages.render(view, "tag-deletion.html", values)


def groups(plan: TagsRemoval) -> list[Group]:
    """What goes, by what it points to."""
    found: dict[Digest, Group] = {}
    for name, digest in plan.tags.items():
        found.setdefault(digest, Group(digest, [], [])).going.append(name)
    for name, digest in [] if plan.left is None else plan.left.same_digest:
        if digest in found:
            found[digest].staying.append(name)
    return list(found.values())


async def _remove_leftovers(services: WebServices, visit: Visit, digests: Sequence[Digest]) -> None:
    """Remove manifests, and the parts that nothing else leads to then. Each is looked at again when it is its turn:
    what somebody has tagged since stays, and what an index lists does."""
    waiting = deque(digests)
    while waiting:
        waiting.extend(await services.hub.remove.leftover(visit.access, waiting.popleft()))


async def post_manifest(services: WebServices, visit: Visit, view: View) -> Answer:
    """Delete a manifest with all its tags, or ask whether that is meant."""
    form = visit.body
    digest = Digest.parse(form.text("digest"))
    frame = await framed(services, visit, "tags")
    plan = await services.hub.remove.image(visit.access, digest, dry_run=True)
    if not form.has("confirmed"):
        values = {"frame": frame, "plan": plan, "left": plan.left}
        if view.is_htmx:
            return services.pages.fragment(view, "manifest-deletion.html", "question", values)
        return services.pages.render(view, "manifest-deletion.html", values)
    await services.hub.remove.image(visit.access, digest)
    if form.has("parts") and plan.left is not None:
        await _remove_leftovers(services, visit, plan.left.children)
    return told(services, view, f"{frame.path}/-/tags", services.pages.texts(view).gettext("The image is deleted."))


ROUTES = (
    WebRoute("delete-tags", "POST", "/r/{repository}/-/delete-tags", Action.DELETE, post_tags),
    WebRoute("delete-manifest", "POST", "/r/{repository}/-/delete-manifest", Action.DELETE, post_manifest),
)
