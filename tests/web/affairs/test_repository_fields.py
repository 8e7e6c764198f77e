"""The forms of repositories, with fields that they do not have (SEC-020), and with what belongs to somebody else
(SEC-022)."""

from collections.abc import Callable

import pytest

from registry.api.web import browsing, preferences
from tests.clients.images import EMPTY
from tests.running import Registry
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Reader
from tests.web.affairs.test_assignment import COLUMNS, VALUES, WORDS, Case, differences
from tests.web.affairs.test_organizations import founded
from tests.web.world import Pusher, image_document

Open = Callable[[str], Reader]
HERE = "/r/rosa/app/-"
GONE_WITH_IT = ("tags", "manifests", "manifest_blobs")
COUNTED = ("repositories.tally_at", "repositories.tag_count", "repositories.pushed_at")
PRIVATE = {"name": "rosa/made", "visibility": "private", "description": "x"}

CASES: list[tuple[str, Case]] = [
    (
        "new-repository",
        Case(
            "rosa", "/new", {"namespace": "rosa", "name": "made", "description": "x", "visibility": "private"},
            adds={"repositories": PRIVATE},
        ),
    ),
    (
        "description",
        Case("rosa", f"{HERE}/settings/description", {"description": "y"}, changes=("repositories.description",)),
    ),
    (
        "visibility",
        Case("rosa", f"{HERE}/settings/visibility", {"visibility": "public"}, changes=("repositories.visibility",)),
    ),
    ("readme-preview", Case("rosa", f"{HERE}/readme/preview", {"readme": "# x"}, 200, also=("version",))),
    ("readme", Case("rosa", f"{HERE}/readme", {"readme": "# x"}, also=("version",), adds={"readmes": {}})),
    ("star", Case("rosa", f"{HERE}/star", {"star": "on"}, adds={"stars": {}}, changes=("repositories.star_count",))),
    (
        "role",
        Case(
            "rosa", f"{HERE}/settings/access", {"holder": "rolf", "role": "read"},
            adds={"grants": {"role": 1, "team_id": None, "namespace_id": None}},
        ),
    ),
    (
        "delete-tags",
        Case(
            "rosa", f"{HERE}/delete-tags", {"tag": ["b"], "confirmed": "1"}, also=("manifests",),
            changes=COUNTED, adds={"tag_history": {"repository_id": 1}}, removes=("tags",),
        ),
    ),
    (
        "restore-tag",
        Case(
            "rosa", f"{HERE}/restore-tag", {"tag": "b", "digest": "DIGEST b"},
            changes=COUNTED, adds={"tags": {"name": "b"}, "tag_history": {"repository_id": 1}},
        ),
    ),
    (
        "delete-manifest",
        Case(
            "rosa", f"{HERE}/delete-manifest", {"digest": "DIGEST c", "confirmed": "1"}, also=("parts",),
            changes=(*COUNTED, "blobs.protect_until", "blobs.review_at"),
            adds={"tag_history": {"repository_id": 1}}, removes=GONE_WITH_IT,
        ),
    ),
    (
        "repository-name",
        Case(
            "rosa", f"{HERE}/settings/name", {"name": "rosa/other"},
            changes=("repositories.name",), adds={"repository_aliases": {}},
        ),
    ),
    ("alias", Case("rosa", "/r/rosa/other/-/settings/aliases", {"name": "rosa/app"}, removes=("repository_aliases",))),
    (
        "delete-repository",
        Case(
            "rosa", "/r/rosa/other/-/settings/delete", {"confirmation": "rosa/other"},
            changes=("repositories.name", "repositories.tally_at", "repositories.deleted_at"),
            removes=(*GONE_WITH_IT, "grants", "stars", "readmes"),
        ),
    ),
    ("preferences", Case("rosa", "/preferences", {"theme": "dark"}, also=("next", "language"))),
]  # fmt: skip


def _push(hub: Registry, who: str, name: str, *tags: str) -> dict[str, str]:
    """An image a tag, each of its own; their digests."""
    from random import Random

    found = {}
    with hub.client(auth=(who, PASSWORD)) as client:
        pusher = Pusher(client, Random(name))
        for tag in tags:
            config = pusher.blob(name, b"{}", EMPTY)
            layer = pusher.layer(name, 90)
            found[tag] = pusher.manifest(name, image_document(config, [layer]), tag)["digest"]
    return found


def test_every_form_is_here() -> None:
    """A form without a case, and a case without a form, are mistakes."""
    routes = (*browsing.ROUTES, *preferences.ROUTES)
    assert {name for name, _ in CASES} == {route.spec_id for route in routes if route.method != "GET"}


def test_sec_020_only_what_a_form_has_is_changed(hub: Registry, browsers: Open) -> None:
    """SEC-020: with the name of every column as a field."""
    rosa = browsers("rosa")
    browsers("rolf")
    digests = _push(hub, "rosa", "rosa/app", "a", "b", "c")
    rosa.get("/settings/sign-in")
    wrong: list[str] = []
    for number, (name, case) in enumerate(CASES):
        fields = {key: digests[str(value)[7:]] if str(value).startswith("DIGEST ") else value
                  for key, value in case.fields.items()}  # fmt: skip
        extra = dict.fromkeys({*WORDS, *COLUMNS} - {*fields, *case.also, "csrf"}, VALUES[number % len(VALUES)])
        before = tables.cells(hub)
        answer = rosa.http.post(case.path, data={**extra, **fields, "csrf": rosa.word})
        if answer.status_code != case.status:
            wrong.append(f"{name}: {answer.status_code}, not {case.status}")
        wrong += [f"{name}: {text}" for text in differences(before, tables.cells(hub), case)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_sec_022_what_another_repository_holds(hub: Registry, browsers: Open) -> None:
    """SEC-022: a path with one's own repository reaches no manifest, tag or former name of another, whether by reading
    or by a form; a team of others is given no role."""
    victim = founded(browsers, "guarded", "guards")
    victim.get("/u/guards/teams")
    victim.send("/u/guards/teams", name="night")
    theirs = _push(hub, "guarded", "guards/vault", "gold", "silver")
    victim.get("/r/guards/vault/-/settings")
    victim.send("/r/guards/vault/-/settings/name", name="guards/safe")
    thief = founded(browsers, "burglar", "burglars")
    _push(hub, "burglar", "burglars/bag", "tools")
    thief.get("/settings/sign-in")
    before = tables.everything(hub)
    mine, digest = "/r/burglars/bag/-", theirs["gold"]
    for path in (f"manifests/{digest}", f"manifests/{digest}/raw", f"manifests/{digest}/config", "tags/gold"):
        thief.get(f"{mine}/{path}", status=404)
        for name in ("guards/vault", "guards/safe"):
            thief.get(f"/r/{name}/-/{path}", status=404)
    word = {"csrf": thief.word}
    for place, fields, statuses in (
        ("delete-manifest", {"digest": digest, "confirmed": "1"}, {404}),
        # It leads to the page that says why not.
        ("restore-tag", {"tag": "gold", "digest": digest}, {303}),
        ("settings/aliases", {"name": "guards/vault"}, {303, 404}),
        ("settings/name", {"name": "guards/stolen"}, {403, 404}),
        ("settings/name", {"name": "guards/vault"}, {403, 404, 409}),
        ("settings/access", {"holder": "team:guards/night", "role": "read"}, {400, 404}),
    ):
        answer = thief.http.post(f"{mine}/{place}", data={**fields, **word})
        assert answer.status_code in statuses, f"{place}: {answer.status_code}"
        found = {
            thief.http.post(f"/r/{name}/-/{place}", data={**fields, **word}).status_code
            for name in ("guards/vault", "guards/safe", "guards/nothing")
        }
        # As for what is not there; a tag might be pushed by who may make the repository.
        assert found == {403 if place == "restore-tag" else 404}, place
    assert tables.everything(hub) == before


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("teams/night", None),
        ("teams/night/members", {"name": "thief-of-teams"}),
        ("teams/night/members/remove", {"name": "watch"}),
        ("teams/night/roles", {"place": "gang-of-two/*", "role": "admin"}),
        ("teams/night/roles/remove", {"place": "watches/*"}),
        ("teams/night/delete", {}),
        ("members/remove", {"name": "watch"}),
        ("access/remove", {"holder": "watch"}),
        ("access/remove", {"holder": "team:watches/night"}),
    ],
)
def test_sec_022_teams_and_members_of_others(
    hub: Registry, browsers: Open, place: str, fields: dict[str, str] | None
) -> None:
    """SEC-022: neither by a path with one's own organization nor by theirs."""
    if tables.scalar(hub, "SELECT 1 FROM accounts WHERE name = 'watch'") is None:
        owner = founded(browsers, "watch", "watches")
        owner.get("/u/watches/teams")
        owner.send("/u/watches/teams", name="night")
        founded(browsers, "thief-of-teams", "gang-of-two")
    thief = Reader(hub).sign_in("thief-of-teams", PASSWORD)
    thief.get("/settings/sign-in")
    before = tables.everything(hub)
    for organization in ("gang-of-two", "watches"):
        path = f"/u/{organization}/{place}"
        answer = thief.http.get(path) if fields is None else thief.http.post(path, data={**fields, "csrf": thief.word})
        assert answer.status_code == 404, f"{path}: {answer.status_code}"
    assert tables.everything(hub) == before
    thief.close()
