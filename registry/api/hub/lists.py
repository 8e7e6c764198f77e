"""Lists that go by name or number: what they are asked by, and where a page ends. And what is changed in part."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec

from registry.api.hub import answers, cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.core.errors import FieldInvalid
from registry.core.limits import LIST_PAGE_MAX
from registry.services.administration import KEEP, Keep

T = TypeVar("T")
Limit = Annotated[int, msgspec.Meta(ge=1, le=LIST_PAGE_MAX, description="So many entries at most.")]
After = Annotated[str | None, msgspec.Meta(description="The cursor `next` of the page before.")]
PREFIX_PATTERN = "^[a-z0-9._+-]*$"
_ID_MAX = 2**63 - 1


class ListQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A page of a list."""

    limit: Limit = 50
    after: After = None


class NamedQuery(ListQuery, forbid_unknown_fields=True, frozen=True):
    """A page of a list of names."""

    q: Annotated[
        str, msgspec.Meta(max_length=64, pattern=PREFIX_PATTERN, description="What the names have to begin with.")
    ] = ""


class DryRunQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Whether to do it."""

    dry_run: Annotated[bool, msgspec.Meta(description="Say what would happen, and change nothing.")] = False


def last_name(visit: Visit) -> str:
    """Behind which name the page begins. Raises FieldInvalid."""
    return "" if visit.query.after is None else cursors.read(visit.query.after, tuple[str])[0]


def last_number(visit: Visit) -> int:
    """Behind which number the page begins. Raises FieldInvalid."""
    return 0 if visit.query.after is None else cursors.read(visit.query.after, tuple[cursors.Number])[0]


def page(
    visit: Visit,
    found: Sequence[T],
    shown: Callable[[T], object],
    position: Callable[[T], tuple[str | int | None, ...]],
) -> Answer:
    """A page of what was found: one more than the page may have tells that there is a next one."""
    limit: int = visit.query.limit
    entries = found[:limit]
    end = position(entries[-1]) if len(found) > limit else None
    return answers.page(visit.request, [shown(one) for one in entries], end)


def number(visit: Visit, name: str) -> int:
    """A parameter of the path that is a number. Raises FieldInvalid."""
    text = visit.names[name]
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _ID_MAX or len(text) > len(str(_ID_MAX)):
        raise FieldInvalid(f"{name} is a number", field=name)
    return int(text)


def kept(value: T | msgspec.UnsetType) -> T | Keep:
    """What a body says, or that it says nothing."""
    return KEEP if isinstance(value, msgspec.UnsetType) else value
