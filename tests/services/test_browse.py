"""Looking around, as the API and the pages do it."""

import pytest

from registry.core.access import Actor, Principal, RepositoryAccess, Visibility
from registry.core.errors import AccountUnknown, FieldInvalid
from registry.core.names import RepositoryName
from registry.core.search import SearchText
from registry.core.shelf import Order, RepositoriesQuery
from registry.metadata import repositories
from registry.metadata.database import Database
from registry.services.access import EVERYBODY
from registry.services.browse import Browse
from tests.backends import Backend

pytestmark = pytest.mark.anyio
NOBODY = Actor(None, "", "none")


@pytest.fixture
def database(backend: Backend) -> Database:
    """An empty one of each kind in turn."""
    return backend.new()


async def make(database: Database, name: str, visibility: Visibility = Visibility.PUBLIC) -> None:
    """A repository of the instance."""
    entry = RepositoryAccess(RepositoryName.parse(name), None, NOBODY, visibility=visibility)
    await database.write(lambda connection: repositories.ensure(connection, entry, now=1))


async def test_an_open_registry_shows_everything(database: Database) -> None:
    """What somebody has just made is there, with nothing in it; who cannot see it hears of no such namespace."""
    await make(database, "team/app", Visibility.PRIVATE)
    page = await Browse(database, is_open=True).repositories(EVERYBODY, RepositoriesQuery(with_total=True))
    assert [entry.name for entry in page.entries] == ["team/app"] and page.total == 1
    shut = Browse(database, is_open=False)
    assert (await shut.repositories(EVERYBODY, RepositoriesQuery(with_total=True))).total == 0
    with pytest.raises(AccountUnknown):
        await shut.namespace(EVERYBODY, "team")
    assert (await Browse(database, is_open=True).namespace(EVERYBODY, "team")).namespace.kind is None


async def test_suggestions(database: Database) -> None:
    """Repositories and namespaces that begin so; nothing for nothing."""
    for name in ("nginx/nginx", "nginx/proxy", "acme/nginx-ui", "acme/redis"):
        await make(database, name)
    browse = Browse(database, is_open=False)
    found = await browse.suggest(EVERYBODY, SearchText.parse("ngin", field="q"), 2)
    assert [entry.name for entry in found.repositories] == ["nginx/nginx", "acme/nginx-ui"]
    assert [entry.name for entry in found.namespaces] == ["nginx"]
    nothing = await browse.suggest(EVERYBODY, SearchText.parse(" ", field="q"), 2)
    assert (nothing.repositories, nothing.namespaces) == ([], [])


@pytest.mark.parametrize(
    "wanted",
    [
        RepositoriesQuery(order=Order.NAME, after=(1, 1)),
        RepositoriesQuery(order=Order.PULL_COUNT, after=("x", 1)),
        RepositoriesQuery(order=Order.RELEVANCE, after=("x", 1)),
        RepositoriesQuery(order=Order.RELEVANCE, search=SearchText(("x",)), after=(1, 1)),
    ],
)
async def test_a_place_of_another_list_is_refused(database: Database, wanted: RepositoriesQuery) -> None:
    """SEC-026: 4xx that names the field, on every engine."""
    with pytest.raises(FieldInvalid) as caught:
        await Browse(database, is_open=False).repositories(Principal(None, "", "none"), wanted)
    assert caught.value.facts["field"] == "after"
