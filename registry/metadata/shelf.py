"""Lists of repositories for people and programs: filters, orders, pages by key, and what fits a text best.

Everything that a list shows is read in one statement, but for types and platforms, which are a second one. Where only
few can fit, those are looked up and sorted; where many may, the walks of `ways` go along the order, and meet them soon.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Row, Select, and_, exists, func, or_, select, union, union_all
from sqlalchemy.engine import Connection

from registry.core.access import Visibility
from registry.core.digest import Digest
from registry.core.search import Nearness, SearchText, nearness
from registry.core.shelf import (
    ListedRepository,
    Order,
    Position,
    RepositoriesPage,
    RepositoriesQuery,
    RepositoryPage,
    Sample,
)
from registry.metadata.schema import accounts, manifests, readmes, repositories, repository_facets, stars, tags
from registry.metadata.search import Index, holds, may_be_meant
from registry.metadata.ways import CALLER, OWN_NAMESPACES, OWN_REPOSITORIES, Viewer, Walk, among, below, place

FEW = 300
"""As many are looked up one by one; where more may fit, a page meets them soon along the order."""
BEST = 100
"""Of each kind of what fits a text, so many are looked at for the best."""
_ALL = 2**31
_Rows = Sequence[Row[*tuple[Any, ...]]]
_PULLS_DIGITS = 19

_OWN = OWN_NAMESPACES.subquery("own").c.id
_IS_MINE = or_(repositories.c.namespace_id.in_(OWN_NAMESPACES), repositories.c.id.in_(OWN_REPOSITORIES))
_IS_STARRED = exists().where(stars.c.account_id == CALLER, stars.c.repository_id == repositories.c.id)
_STARRED = select(stars.c.repository_id).where(stars.c.account_id == CALLER)
_COLUMNS = (
    repositories.c.id,
    repositories.c.name,
    accounts.c.name.label("namespace"),
    repositories.c.description,
    repositories.c.visibility,
    repositories.c.created_at,
    repositories.c.pushed_at,
    repositories.c.tag_count,
    repositories.c.manifest_count,
    repositories.c.size_bytes,
    repositories.c.shared_bytes,
    repositories.c.pull_count,
    repositories.c.pulled_at,
    repositories.c.star_count,
    _IS_STARRED.label("is_starred"),
)
_OWNED = repositories.outerjoin(accounts, accounts.c.id == repositories.c.namespace_id)


def page(
    connection: Connection, viewer: Viewer, wanted: RepositoriesQuery, *, with_facets: bool = True
) -> RepositoriesPage:
    """A page of what is wanted of what the viewer may see: one statement, one more for types and platforms, and one
    more for the total."""
    if viewer.sees_nothing or wanted.count < 1:
        return RepositoriesPage([], None, 0 if wanted.with_total else None)
    by_relevance = wanted.order is Order.RELEVANCE and bool(wanted.search.words)
    rows, next_after = (_best if by_relevance else _ordered)(connection, viewer, wanted)
    number = total(connection, viewer, wanted) if wanted.with_total else None
    is_asked = with_facets and wanted.with_facets
    held = _facets_of(connection, [row.id for row in rows]) if is_asked else {}
    return RepositoriesPage([_entry(row, held) for row in rows], next_after, number)


_ITS_TAGS = select(tags.c.manifest_id, tags.c.name).where(tags.c.repository_id == repositories.c.id)
_LATEST = _ITS_TAGS.where(tags.c.name == "latest")
_NEWEST = _ITS_TAGS.order_by(tags.c.updated_at.desc(), tags.c.name.desc()).limit(1)


def one(
    connection: Connection, viewer: Viewer, repository_id: int, *, is_whole: bool, with_facets: bool = False
) -> RepositoryPage | None:
    """What the pages of a repository show of it, with `with_facets` also types and platforms, with `is_whole` these,
    README and sample: one statement, and one more for types and platforms. That the viewer may see it was decided
    before."""
    found = _WHOLE if is_whole else select(*_COLUMNS).select_from(_OWNED)
    query = found.where(repositories.c.id == repository_id, repositories.c.deleted_at.is_(None))
    row = connection.execute(query, {"account": viewer.account_id}).first()
    if row is None:
        return None
    held = _facets_of(connection, [row.id]) if is_whole or with_facets else {}
    if not is_whole:
        return RepositoryPage(_entry(row, held))
    sample = None
    if row.digest is not None:
        sample = Sample(row.sample, Digest.unpack(row.digest), row.media_type, row.artifact_type)
    return RepositoryPage(_entry(row, held), row.markdown, sample)


def _either(column: str) -> Any:
    """Of the tag `latest`, else of the newest one."""
    pair = [query.with_only_columns(tags.c[column]).correlate(repositories) for query in (_LATEST, _NEWEST)]
    return func.coalesce(*(query.scalar_subquery() for query in pair))


_WHOLE = (
    select(
        *_COLUMNS,
        readmes.c.markdown,
        _either("name").label("sample"),
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.artifact_type,
    )
    .select_from(_OWNED)
    .outerjoin(readmes, readmes.c.repository_id == repositories.c.id)
    .outerjoin(manifests, manifests.c.id == _either("manifest_id"))
)


def total(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery, *, at_most: int = _ALL) -> int:
    """How many repositories that the viewer may see are wanted, counted up to a number; those that are a letter off do
    not count."""
    if viewer.sees_nothing:
        return 0
    query = select(func.count()).select_from(ids(connection, viewer, wanted, count=at_most).subquery())
    return min(int(connection.execute(query, {"account": viewer.account_id}).scalar_one()), at_most)


def ids(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery, *, count: int = _ALL) -> CompoundSelect[Any]:
    """Selects the `id` of repositories that the viewer may see and that are wanted, all of them or some `count`; those
    that are a letter off are not."""
    walk = _walk(connection, viewer, replace(wanted, order=Order.NAME, after=None, count=count))
    return union(*(select(part.c.id) for part in [part.subquery() for part in _parts(walk, viewer, wanted)]))


# In the order of a column


def _ordered(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> tuple[_Rows, Position | None]:
    walk = _walk(connection, viewer, replace(wanted, count=wanted.count + 1))
    first = walk.first_of(_parts(walk, viewer, wanted)).subquery("first")
    query = select(*_COLUMNS, first.c.key).select_from(_OWNED.join(first, first.c.id == repositories.c.id))
    keys = [first.c.key, first.c.id]
    query = query.order_by(*(key.desc() if walk.descending else key for key in keys))
    rows = connection.execute(query, {"account": viewer.account_id}).all()
    if len(rows) <= wanted.count:
        return rows, None
    last = rows[wanted.count - 1]
    return rows[: wanted.count], (last.key, last.id)


def _walk(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> Walk:
    is_by_pulls = wanted.order is Order.RELEVANCE
    column = repositories.c[Order.PULL_COUNT if is_by_pulls else wanted.order]
    conditions = tuple(_conditions(viewer, wanted, wanted.search))
    return Walk(connection, column, is_by_pulls or wanted.descending, wanted.after, wanted.count, conditions)


def _conditions(viewer: Viewer, wanted: RepositoriesQuery, search: SearchText) -> list[ColumnElement[bool]]:
    """What one repository has to be, apart from where it is and whether it may be seen."""
    found = [*viewer.conditions]
    if search.words:
        found.append(holds(search, in_name=wanted.is_in_name))
    if wanted.visibility is not None:
        found.append(repositories.c.visibility == wanted.visibility.value)
    if wanted.is_full:
        found.append(exists().where(manifests.c.repository_id == repositories.c.id))
    facet = repository_facets.c.repository_id == repositories.c.id
    return [*found, *(exists().where(facet, condition) for condition in _facets(wanted))]


def _facets(wanted: RepositoriesQuery) -> list[ColumnElement[bool]]:
    kind, value = repository_facets.c.kind, repository_facets.c.value
    found = []
    if wanted.artifact_types:
        found.append(and_(kind == "artifact", value.in_(wanted.artifact_types)))
    if wanted.platform is not None:
        variants = and_(value > f"{wanted.platform}/", value < f"{wanted.platform}0")
        found.append(and_(kind == "platform", or_(value == wanted.platform, variants)))
    return found


def _parts(walk: Walk, viewer: Viewer, wanted: RepositoriesQuery) -> list[Select[Any]]:
    """What a list is the union of."""
    inside = _inside(wanted)
    if wanted.is_starred:
        return [walk.where(viewer.may_see, *inside).through_ids(_STARRED)]
    given = [walk.where(*_below(wanted)).through_ids(OWN_REPOSITORIES)] if _has_own(viewer) else []
    few = _few(walk.connection, viewer, wanted)
    walks = _walks(walk, viewer, wanted)
    if few is None:
        return [*given, *(part if need is None else walk.only_if(need, part) for need, part in walks)]
    chosen = few.cte("few")
    are_few = select(func.count()).select_from(chosen).scalar_subquery() < FEW
    looked_up = walk.where(viewer.may_see, *inside).through_ids(select(chosen.c.id))
    along = [walk.only_if(~are_few if need is None else and_(~are_few, need), part) for need, part in walks]
    return [*given, walk.only_if(are_few, looked_up), *along]


def _has_own(viewer: Viewer) -> bool:
    return viewer.account_id is not None and not viewer.is_open


def _inside(wanted: RepositoriesQuery) -> list[ColumnElement[bool]]:
    """Where one repository has to be."""
    return [*_below(wanted), *([_IS_MINE] if wanted.is_mine else [])]


def _below(wanted: RepositoriesQuery) -> list[ColumnElement[bool]]:
    return [] if wanted.namespace is None else [below(wanted.namespace)]


def _few(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> Select[Any] | None:
    """Up to FEW repositories among which everything is that can fit, if there are fewer; None where no index knows."""
    if wanted.search.indexed:
        return Index(connection, viewer, FEW).of_words(wanted.search)
    facets = _facets(wanted)
    if not facets:
        return None
    return select(repository_facets.c.repository_id.label("id")).where(facets[0]).distinct().limit(FEW)


Need = ColumnElement[bool] | None
"""What has to hold for a walk to be worth while."""


def _walks(walk: Walk, viewer: Viewer, wanted: RepositoriesQuery) -> list[tuple[Need, Select[Any]]]:
    """Along the order through what may be seen, but for what was given to the caller one by one."""
    shown = [one for one in Visibility if wanted.visibility in (None, one)]
    if wanted.namespace is not None:
        return _walks_inside(walk, viewer, wanted, shown)
    if wanted.is_mine:
        return [(None, walk.through_places(union_all(*(place(_OWN, one) for one in shown))))]
    found: list[tuple[Need, Select[Any]]] = []
    if Visibility.PUBLIC in shown:
        found.append((None, walk.through_visibility(Visibility.PUBLIC)))
    if Visibility.PRIVATE in shown and _has_own(viewer):
        found.append((None, walk.through_places(place(_OWN, Visibility.PRIVATE))))
    if Visibility.PRIVATE in shown:
        found.append((viewer.sees_all, walk.through_visibility(Visibility.PRIVATE)))
    return found


def _walks_inside(
    walk: Walk, viewer: Viewer, wanted: RepositoriesQuery, shown: list[Visibility]
) -> list[tuple[Need, Select[Any]]]:
    """As above, in one namespace: what its account owns, and what the instance does under the same name."""
    namespace = wanted.namespace
    assert namespace is not None
    named, is_own = accounts.c.name == namespace, accounts.c.id.in_(OWN_NAMESPACES)
    found: list[tuple[Need, Select[Any]]] = []
    for one in shown:
        is_public = one is Visibility.PUBLIC
        need = None if is_public else viewer.sees_all
        if wanted.is_mine or (not is_public and _has_own(viewer)):
            found.append((None, walk.through_places(place(accounts.c.id, one).where(named, is_own))))
        if wanted.is_mine:
            continue
        if walk.column is repositories.c.name:
            found.append((need, walk.through_names_below(namespace, one)))
            continue
        found.append((need, walk.through_places(place(accounts.c.id, one).where(named))))
        found.append((need, walk.through_unowned(one, namespace)))
    return found


# In the order of what fits best


def _best(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> tuple[_Rows, Position | None]:
    parts = [part.subquery() for part in _candidates(connection, viewer, wanted)]
    found = union(*(select(part.c.id) for part in parts))
    query = select(*_COLUMNS).select_from(_OWNED).where(among(connection, found))
    ranked = []
    for row in connection.execute(query, {"account": viewer.account_id}):
        key = _rank(wanted.search, row)
        if key is not None and (wanted.after is None or (key, row.id) > wanted.after):
            ranked.append((key, row.id, row))
    ranked.sort(key=lambda entry: entry[:2])
    first = ranked[: wanted.count]
    return [row for _, _, row in first], None if len(ranked) <= wanted.count else first[-1][:2]


def _rank(search: SearchText, row: Any) -> str | None:
    """A text that sorts as the list does, None for what does not fit."""
    near, rest = nearness(search, row.name)
    if near is Nearness.NOT:
        described = row.description.lower()
        if not all(word in row.name or word in described for word in search.words):
            return None
    return f"{near:d}{rest:02d}{10**_PULLS_DIGITS - 1 - row.pull_count:0{_PULLS_DIGITS}d}"


def _candidates(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> list[Select[Any]]:
    """What may be among the best: of each kind a number that does not grow."""
    search = wanted.search
    conditions = [*_conditions(viewer, wanted, SearchText()), *_inside(wanted)]
    if wanted.is_starred:
        conditions.append(_IS_STARRED)
    some = select(repositories.c.id).where(repositories.c.deleted_at.is_(None), *conditions).limit(BEST)
    index = Index(connection, viewer, BEST)
    checked = (*conditions, viewer.may_see)
    found = [some.where(repositories.c.name == search.whole, viewer.may_see), index.of_last_part(search, *checked)]
    found.append(_popular(connection, viewer, wanted))
    if len(search.whole) > 1:
        found.append(index.of_beginning(search, *checked))
    if _has_own(viewer):
        found.append(some.where(repositories.c.id.in_(OWN_REPOSITORIES), may_be_meant(search)))
    if search.indexed:
        words = index.of_words(search, holds(search), *checked).cte("words")
        found.append(select(words.c.id))
        if search.has_typos:
            number = select(func.count()).select_from(words).scalar_subquery()
            found.append(index.only_if(number < wanted.count, index.of_typos(search, *checked)))
    return found


def _popular(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> Select[Any]:
    """Of what is pulled most, what has the words: where many fit, the best are among these."""
    most = replace(wanted, search=SearchText(), order=Order.RELEVANCE, after=None, count=BEST)
    walk = _walk(connection, viewer, most)
    first = walk.first_of(_parts(walk, viewer, most)).subquery("most")
    return select(repositories.c.id).where(among(connection, select(first.c.id)), holds(wanted.search))


# What an entry says


_Held = dict[tuple[int, str], list[str]]


def _facets_of(connection: Connection, repository_ids: list[int]) -> _Held:
    """Types and platforms of the repositories of a page."""
    if not repository_ids:
        return {}
    facets = repository_facets.c
    query = select(facets.repository_id, facets.kind, facets.value)
    query = query.where(facets.repository_id.in_(repository_ids)).order_by(facets.value)
    held: _Held = {}
    for repository_id, kind, value in connection.execute(query):
        held.setdefault((repository_id, kind), []).append(value)
    return held


def _entry(row: Any, held: _Held) -> ListedRepository:
    values = dict(zip([column.name for column in _COLUMNS], row, strict=False))
    values["visibility"] = Visibility(row.visibility)
    values["is_starred"] = bool(row.is_starred)
    types, platforms = (tuple(held.get((row.id, kind), ())) for kind in ("artifact", "platform"))
    return ListedRepository(**values, artifact_types=types, platforms=platforms)
