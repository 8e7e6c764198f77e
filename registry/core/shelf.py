"""Lists of repositories: what can be asked for, and what an entry says."""

from dataclasses import dataclass, field
from enum import StrEnum

from registry.core.access import Visibility
from registry.core.digest import Digest
from registry.core.limits import LIST_PAGE_DEFAULT
from registry.core.search import SearchText

Position = tuple[str | int, int]
"""Where a page ends: the last entry's value of what the list is ordered by, and its id."""


class Order(StrEnum):
    """What lists of repositories can be ordered by; nothing else."""

    NAME = "name"
    PUSHED_AT = "pushed_at"
    PULL_COUNT = "pull_count"
    STAR_COUNT = "star_count"
    SIZE_BYTES = "size_bytes"
    RELEVANCE = "relevance"
    """What fits the text best comes first, also what is one letter off, and the list ends with the best few hundred.
    Without a text that is what was pulled most."""


@dataclass(frozen=True, slots=True)
class RepositoriesQuery:
    """Which repositories, in which order. Filters that are None or False leave everything in."""

    search: SearchText = field(default_factory=SearchText)
    """Every word is in the name or in the description."""
    is_in_name: bool = False
    """Every word is in the name."""
    namespace: str | None = None
    visibility: Visibility | None = None
    artifact_types: tuple[str, ...] = ()
    """Any of them; all kinds of artifacts where there is none."""
    platform: str | None = None
    """`os/architecture[/variant]`; without the variant it means all of them."""
    is_starred: bool = False
    """By the caller."""
    is_mine: bool = False
    """Where the caller has a role: in its namespaces, and where it was given one."""
    is_full: bool = False
    """Without those that hold nothing yet."""
    order: Order = Order.NAME
    descending: bool = False
    """RELEVANCE has one direction."""
    after: Position | None = None
    count: int = LIST_PAGE_DEFAULT
    with_total: bool = False
    with_facets: bool = True
    """With the types and platforms of each."""


@dataclass(frozen=True, slots=True)
class ListedRepository:
    """A repository as lists show it. Times in ms since 1970 UTC, 0 or None for never."""

    id: int
    name: str
    namespace: str | None
    """The account that owns it, None where the instance does."""
    description: str
    visibility: Visibility
    created_at: int
    pushed_at: int
    tag_count: int
    manifest_count: int
    size_bytes: int
    """Each blob once, with manifests."""
    shared_bytes: int
    """Of that, what other repositories hold too."""
    pull_count: int
    pulled_at: int | None
    star_count: int
    is_starred: bool
    """By the caller."""
    artifact_types: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RepositoriesPage:
    """A page of a list; `next_after` is where the next one begins, None on the last. `total` only if asked for."""

    entries: list[ListedRepository]
    next_after: Position | None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A tag that stands for what a repository holds: `latest`, or the one that was set last."""

    tag: str
    digest: Digest
    media_type: str
    artifact_type: str | None


@dataclass(frozen=True, slots=True)
class RepositoryPage:
    """What the pages of a repository show of it. README and sample are None unless asked for and
    there."""

    repository: ListedRepository
    readme: str | None = None
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class NumberedPage:
    """A page by its number. `total` counts no further than such pages go."""

    entries: list[ListedRepository]
    next_after: Position | None
    total: int


@dataclass(frozen=True, slots=True)
class ListedNamespace:
    """A namespace as lists show it. `kind` None: the instance owns what is there."""

    name: str
    kind: str | None
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class NamespacePage:
    """What the page of a namespace shows. The numbers are of what the caller may see, None unless asked for."""

    namespace: ListedNamespace
    is_inside: bool = False
    """Whether the caller belongs to it, or administers the instance."""
    is_governed: bool = False
    """Whether the caller is its owner, or administers the instance."""
    repository_count: int | None = None
    star_count: int | None = None
    pull_count: int | None = None


@dataclass(frozen=True, slots=True)
class NamespacesPage:
    """Namespaces by name; `next_after` is where the next page begins, None on the last."""

    entries: list[ListedNamespace]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What somebody who is still typing may mean."""

    repositories: list[ListedRepository]
    namespaces: list[ListedNamespace]
