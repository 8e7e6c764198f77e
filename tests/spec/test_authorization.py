"""Who may do what: every route, every caller, every kind of repository, compared with a table.

The table says it a second time and shares no code with the product. A route that it does not know fails here. Rules:
decisions 13 to 19 of the design; SEC-020 and what follows.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpx2
import pytest

from registry.api.accounts import LOGIN_ROUTES
from registry.api.metrics import Metrics
from registry.api.operate import Readiness, health_app, operator_app
from registry.api.search import SEARCH_ROUTES
from registry.api.v2.routes import ROUTES
from registry.core.digest import Digest
from tests.reliability.client import expect
from tests.spec import callers
from tests.spec.callers import EXISTING, LAYER, PASSWORD, Caller, Place, Scheme, World, challenge_of, claims_of


class Need(Enum):
    """What a route needs, by the word of `core.access.Action` that it has to declare."""

    ANYBODY = "ping"
    CATALOG = "catalog"
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


# What each caller may do: r pull, w push, d delete; c list repositories.
#                                 app    open   other  missing nowhere
RIGHTS: dict[str, tuple[str, ...]] = {
    "anonymous":                   ("",    "r",   "",    "",    "",    "c"),
    "bearer of a token for other": ("",    "",    "rwd", "",    "",    ""),
    "owner":                       ("rwd", "rwd", "rwd", "rwd", "",    "c"),
    "stranger":                    ("",    "r",   "",    "",    "",    "c"),
    "reader":                      ("r",   "r",   "",    "",    "",    "c"),
    "writer":                      ("rwd", "r",   "",    "",    "",    "c"),
    "teamster":                    ("rwd", "r",   "",    "",    "",    "c"),
    "keeper":                      ("rwd", "r",   "",    "",    "",    "c"),
    "member":                      ("",    "r",   "",    "",    "",    "c"),
    "robot with write":            ("rwd", "rwd", "rwd", "rwd", "",    "c"),
    "robot without role":          ("",    "r",   "",    "",    "",    "c"),
    "token for other":             ("",    "",    "rwd", "",    "",    "c"),
    "token to read":               ("r",   "r",   "r",   "r",   "",    "c"),
    "token to delete":             ("d",   "d",   "d",   "d",   "",    ""),
    "admin":                       ("rwd", "rwd", "rwd", "rwd", "rwd", "c"),
}  # fmt: skip
LETTER = {Need.PULL: "r", Need.PUSH: "w", Need.DELETE: "d"}
SCOPE = {Need.PULL: "pull", Need.PUSH: "pull,push", Need.DELETE: "delete"}


@dataclass(frozen=True)
class Normal:
    """How an endpoint answers who may use it."""

    status: int
    code: str = ""


NO_NAME = Normal(404, "NAME_UNKNOWN")
NO_UPLOAD = Normal(404, "BLOB_UPLOAD_UNKNOWN")
REFUSED = Normal(401, "UNAUTHORIZED")
DENIED = Normal(403, "DENIED")


@dataclass(frozen=True)
class Probe:
    """A harmless request to one route, and its normal answers where there is such a repository and where there is
    none."""

    method: str
    kind: str
    need: Need
    path: str
    there: Normal
    missing: Normal
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.kind}"

    @property
    def unseen(self) -> Normal:
        """What there is where nothing is to be seen."""
        return Normal(200) if self.kind == "referrers" else NO_NAME


ABSENT = Digest.of(b"absent")
BLOB, UPLOADS = f"/v2/{{}}/blobs/{Digest.of(LAYER)}", "/v2/{}/blobs/uploads/"
UPLOAD = f"{UPLOADS}{'0' * 32}"
TAGS, TAG, CATALOG = "/v2/{}/tags/list", "/v2/{}/manifests/v1", "/v2/_catalog"
REFERRERS = f"/v2/{{}}/referrers/{ABSENT}"
OK, BAD_DIGEST = Normal(200), Normal(400, "DIGEST_INVALID")
BAD_MANIFEST = Normal(400, "MANIFEST_INVALID")
JSON = {"content-type": "application/vnd.oci.image.manifest.v1+json"}

PROBES = (
    Probe("GET", "ping", Need.ANYBODY, "/v2/", OK, OK),
    Probe("HEAD", "ping", Need.ANYBODY, "/v2/", OK, OK),
    Probe("GET", "blob", Need.PULL, BLOB, OK, NO_NAME),
    Probe("HEAD", "blob", Need.PULL, BLOB, OK, NO_NAME),
    Probe("GET", "manifest", Need.PULL, TAG, OK, NO_NAME),
    Probe("HEAD", "manifest", Need.PULL, TAG, OK, NO_NAME),
    Probe("POST", "uploads", Need.PUSH, f"{UPLOADS}?digest=sha256:bad", BAD_DIGEST, BAD_DIGEST),
    Probe("PATCH", "upload", Need.PUSH, UPLOAD, NO_UPLOAD, NO_UPLOAD, b"x"),
    Probe("PUT", "upload", Need.PUSH, f"{UPLOAD}?digest={ABSENT}", NO_UPLOAD, NO_UPLOAD, b"absent"),
    Probe("PUT", "manifest", Need.PUSH, TAG, BAD_MANIFEST, BAD_MANIFEST, b"{", JSON),
    Probe("GET", "tags", Need.PULL, TAGS, OK, NO_NAME),
    Probe("HEAD", "tags", Need.PULL, TAGS, OK, NO_NAME),
    Probe("DELETE", "manifest", Need.DELETE, f"/v2/{{}}/manifests/{ABSENT}", Normal(404, "MANIFEST_UNKNOWN"), NO_NAME),
    Probe("DELETE", "blob", Need.DELETE, f"/v2/{{}}/blobs/{ABSENT}", Normal(404, "BLOB_UNKNOWN"), NO_NAME),
    Probe("GET", "referrers", Need.PULL, REFERRERS, OK, OK),
    Probe("HEAD", "referrers", Need.PULL, REFERRERS, OK, OK),
    Probe("GET", "upload", Need.PUSH, UPLOAD, NO_UPLOAD, NO_UPLOAD),
    Probe("HEAD", "upload", Need.PUSH, UPLOAD, NO_UPLOAD, NO_UPLOAD),
    Probe("DELETE", "upload", Need.PUSH, UPLOAD, NO_UPLOAD, NO_UPLOAD),
    Probe("GET", "catalog", Need.CATALOG, CATALOG, OK, OK),
    Probe("HEAD", "catalog", Need.CATALOG, CATALOG, OK, OK),
)


@dataclass(frozen=True)
class Expected:
    """An answer. `challenge` is what its challenge must say beside realm and service, None for no challenge."""

    answer: Normal
    challenge: dict[str, str] | None = None


def expected(probe: Probe, place: Place, caller: Caller) -> Expected:
    """The rules. No credential, or one that does not cover it: 401, whatever is there. A name with its secret: as if
    there were nothing, unless the caller may see it; then, and for a push, 403."""
    if caller.scheme is Scheme.NOTHING:
        return Expected(REFUSED, scope_of(probe, place))
    if caller.scheme is Scheme.WRONG_BASIC:
        return Expected(REFUSED, scope_of(probe, place))
    if caller.scheme is Scheme.WRONG_BEARER:
        return Expected(REFUSED, {**scope_of(probe, place), "error": "invalid_token"})
    rights = dict(zip(Place, RIGHTS[caller.who], strict=False))
    letters = RIGHTS[caller.who][-1] if probe.need is Need.CATALOG else rights[place]
    is_there = place in EXISTING
    may = probe.need is Need.ANYBODY or LETTER.get(probe.need, "c") in letters
    if may:
        return Expected(probe.there if is_there else probe.missing)
    if caller.scheme is Scheme.BEARER:
        return Expected(REFUSED, {**scope_of(probe, place), "error": "insufficient_scope"})
    if probe.need in (Need.PUSH, Need.CATALOG) or (is_there and "r" in letters):
        return Expected(DENIED)
    return Expected(probe.unseen)


def scope_of(probe: Probe, place: Place) -> dict[str, str]:
    """The scope that a challenge names."""
    if probe.need is Need.ANYBODY:
        return {}
    if probe.need is Need.CATALOG:
        return {"scope": "registry:catalog:*"}
    return {"scope": f"repository:{place}:{SCOPE[probe.need]}"}


@dataclass
class Cast:
    """The world, its callers, and what was in the private repository before they came."""

    world: World
    callers: list[Caller]
    before: dict[str, list[Any]]
    answers: dict[tuple[str, int], httpx2.Response] = field(default_factory=dict)
    """What was answered, by the request and the index of the caller."""

    def answer(self, probe: Probe, place: Place, caller: Caller) -> httpx2.Response:
        """The answer at one field of the matrix, which is asked for once."""
        key = (f"{probe.method} {probe.path.format(place)}", self.callers.index(caller))
        if key not in self.answers:
            self.answers[key] = self.send(probe, place, caller)
        return self.answers[key]

    def send(self, probe: Probe, place: Place, caller: Caller) -> httpx2.Response:
        """Knock."""
        shown = caller.authorization(scope_of(probe, place).get("scope", ""))
        headers = probe.headers if shown is None else {**probe.headers, "authorization": shown}
        path = probe.path.format(place)
        return self.world.client.request(probe.method, path, content=probe.content, headers=headers)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """One server, and everybody."""
    with callers.world(tmp_path_factory.mktemp("matrix")) as made:
        scopes = {scope_of(probe, place).get("scope", "") for probe in PROBES for place in Place}
        callers.disable(made, scopes)
        yield Cast(made, callers.callers(made), rows_of(made))


def rows_of(made: World) -> dict[str, list[Any]]:
    """All that SQL holds of repositories, but for what is only a time of use."""
    tables = ("repositories", "manifests", "tags", "tag_history", "repository_blobs", "uploads", "grants")
    database = sqlite3.connect(f"file:{made.registry.data / 'registry.db'}?mode=ro", uri=True)
    try:
        return {table: sorted(map(repr, database.execute(f"SELECT * FROM {table}"))) for table in tables}
    finally:
        database.close()


def differences(answer: httpx2.Response, wanted: Expected, made: World) -> str:
    """What is wrong with an answer, empty if nothing is."""
    code = ""
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        code = answer.json()["errors"][0]["code"]
    code_wanted = "" if answer.request.method == "HEAD" else wanted.answer.code
    if (answer.status_code, code) != (wanted.answer.status, code_wanted):
        return f"{answer.status_code} {code}, not {wanted.answer.status} {code_wanted}"
    if wanted.challenge is None:
        return "a challenge that nobody asked for" if "www-authenticate" in answer.headers else ""
    realm = {"realm": f"{made.registry.url}/token", "service": made.registry.address}
    challenge = challenge_of(answer)
    return "" if challenge == {**realm, **wanted.challenge} else f"the challenge is {challenge}"


def test_every_route_has_a_row() -> None:
    """A route without a row, a row without a route, and an action that the table does not know are mistakes."""
    assert len({(route.kind, route.method) for route in ROUTES}) == len(ROUTES)
    routes = {(route.method, route.kind, str(route.action)) for route in ROUTES}
    assert {(probe.method, probe.kind, probe.need.value) for probe in PROBES} == routes


@pytest.mark.parametrize("place", Place)
def test_everybody_at_every_route(cast: Cast, place: Place) -> None:
    """SEC-020: the matrix of routes and callers, for one repository."""
    wrong = []
    for caller in cast.callers:
        for probe in PROBES:
            answer = cast.answer(probe, place, caller)
            found = differences(answer, expected(probe, place, caller), cast.world)
            if found:
                wrong.append(f"{caller}: {probe} of {place}: {found}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_what_is_hidden_looks_like_what_is_missing(cast: Cast) -> None:
    """SEC-021: who has no right to a private repository gets what it gets for a missing one: status, body and headers,
    but for the name and the date."""
    wrong = []
    count = 0
    for caller in cast.callers:
        rights = RIGHTS.get(caller.who, ("", "", "", "", "", ""))
        if rights[0] or rights[3]:
            continue
        for probe in PROBES:
            count += 1
            hidden = appearance(cast.answer(probe, Place.APP, caller), Place.APP)
            missing = appearance(cast.answer(probe, Place.MISSING, caller), Place.MISSING)
            if hidden != missing:
                wrong.append(f"{caller}: {probe}: {hidden} is not {missing}")
    assert count > 100
    assert not wrong, "\n" + "\n".join(wrong)


def appearance(answer: httpx2.Response, place: Place) -> tuple[object, ...]:
    """All that a client sees, with the name and the date taken out."""
    headers = [(key, value.replace(place, "NAME")) for key, value in answer.headers.items() if key != "date"]
    return answer.status_code, headers, answer.text.replace(place, "NAME")


def test_a_token_says_nothing_of_what_is_hidden(cast: Cast) -> None:
    """SEC-021 for the token server: its answer, and the token that everybody can read, are those for a missing one."""
    made = cast.world
    passing = {"jti", "iat", "nbf", "exp", "rev"}
    for who in ("anonymous", "stranger", "member", "robot without role", "token for other"):
        seen = []
        for place in (Place.APP, Place.MISSING):
            claims = claims_of(made.token(who, f"repository:{place}:pull,push"))
            text = repr({key: value for key, value in claims.items() if key not in passing})
            seen.append(text.replace(place, "NAME"))
        assert seen[0] == seen[1], who


def test_the_catalog_shows_what_may_be_pulled(cast: Cast) -> None:
    """SEC-022: nobody finds a name in the list whose repository it may not pull."""
    wrong = []
    catalog = next(probe for probe in PROBES if probe.kind == "catalog")
    for caller in cast.callers:
        answer = cast.answer(catalog, Place.APP, caller)
        if answer.status_code == 200:
            rights = dict(zip(Place, RIGHTS[caller.who], strict=False))
            wanted = [place.value for place in EXISTING if "r" in rights[place]]
            if answer.json()["repositories"] != wanted:
                wrong.append(f"{caller}: {answer.json()}, not {wanted}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_an_upload_is_begun_by_who_may_push(cast: Cast) -> None:
    """202 and an upload for who may push, and nobody else's request leaves one behind."""
    begin = Probe("POST", "uploads", Need.PUSH, UPLOADS, Normal(202), Normal(202))
    wrong = []
    for caller in cast.callers:
        for place in EXISTING:
            answer = cast.send(begin, place, caller)
            found = differences(answer, expected(begin, place, caller), cast.world)
            if found:
                wrong.append(f"{caller}: {place}: {found}")
            if answer.status_code == 202:
                shown = caller.authorization(scope_of(begin, place)["scope"])
                headers = {"authorization": str(shown)}
                expect(cast.world.client.delete(answer.headers["location"], headers=headers), 204)
    assert not wrong, "\n" + "\n".join(wrong)


LOGIN_ROWS = {("GET", "/token"), ("POST", "/token"), ("GET", "/.well-known/jwks.json"), ("POST", "/api/v1/users")}


def test_logging_in_is_open_to_all(cast: Cast) -> None:
    """The token server looks at name and secret only; its keys are public; signing up is closed by default."""
    assert {(route.method, route.path) for route in LOGIN_ROUTES} == LOGIN_ROWS
    assert {route.action.value for route in LOGIN_ROUTES} == {"login"}
    client, wrong = cast.world.client, []
    for caller in cast.callers:
        shown = caller.authorization("")
        headers = {} if shown is None else {"authorization": shown}
        may = caller.scheme in (Scheme.NOTHING, Scheme.BASIC)
        rows = [
            (client.get("/token", headers=headers), 200 if may else 401),
            (client.get("/.well-known/jwks.json", headers=headers), 200),
            (client.post("/api/v1/users", json={"name": "new", "password": PASSWORD}, headers=headers), 403),
            (client.post("/token", data={"grant_type": "password"}, headers=headers), 400),
        ]
        wrong += [f"{caller}: {answer}, not {status}" for answer, status in rows if answer.status_code != status]
    for who, (name, secret) in cast.world.passwords.items():
        form = {"grant_type": "password", "username": name, "password": secret}
        status = 401 if who in ("gone", "wrong password", "wrong token") else 200
        answer = client.post("/token", data=form)
        if answer.status_code != status:
            wrong.append(f"POST /token as {who}: {answer}, not {status}")
    assert not wrong, "\n" + "\n".join(wrong)


SEARCH_ROWS = {("GET", "/v1/_ping", "ping"), ("GET", "/v1/search", "catalog")}


def test_a_search_shows_what_may_be_pulled(cast: Cast) -> None:
    """SEC-022, SEC-027: `docker search` finds for everybody what the catalog shows, for who has not logged in what is
    public; a credential that is wrong is refused, also where none is needed. Its ping is for all."""
    assert {(route.method, route.path, route.action.value) for route in SEARCH_ROUTES} == SEARCH_ROWS
    wrong = []
    for caller in cast.callers:
        shown = caller.authorization("registry:catalog:*")
        headers = {} if shown is None else {"authorization": shown}
        is_refused = caller.scheme in (Scheme.WRONG_BASIC, Scheme.WRONG_BEARER)
        rights = RIGHTS["anonymous" if caller.scheme is Scheme.NOTHING else caller.who] if not is_refused else ()
        status = 200 if "c" in rights[-1:] else 403 if caller.scheme is Scheme.BASIC else 401
        seen = {place.value for place, letters in zip(Place, rights, strict=False) if "r" in letters} & set(EXISTING)
        for text in ("acme", "app", "open", "nil", "acme/app", "a", ""):
            answer = cast.world.client.get("/v1/search", params={"q": text}, headers=headers)
            found = {entry["name"] for entry in answer.json().get("results", ())}
            if answer.status_code != status or found != {name for name in seen if text in name and status == 200}:
                wrong.append(f"{caller}: {text!r}: {answer}, {found}")
        if cast.world.client.get("/v1/_ping", headers=headers).status_code != (401 if is_refused else 200):
            wrong.append(f"{caller}: the ping")
    assert not wrong, "\n" + "\n".join(wrong)


MAIN_PATHS, OPERATOR_PATHS = {"/livez", "/readyz"}, {"/metrics", "/livez", "/readyz"}


def test_health_is_open_to_all_and_metrics_to_operators(cast: Cast) -> None:
    """What is served beside `/v2/` asks nobody who it is; metrics are only where operators listen."""
    readiness = Readiness({})
    assert {getattr(route, "path", None) for route in health_app(readiness).routes} == MAIN_PATHS
    assert {getattr(route, "path", None) for route in operator_app(readiness, Metrics()).routes} == OPERATOR_PATHS
    registry, wrong = cast.world.registry, []
    rows = [(registry.url, path, 200) for path in MAIN_PATHS]
    rows += [(registry.metrics_url, path, 200) for path in OPERATOR_PATHS]
    rows += [(registry.url, "/metrics", 404), (registry.metrics_url, "/", 404), (registry.metrics_url, "/v2/", 404)]
    for caller in cast.callers:
        shown = caller.authorization("")
        headers = {} if shown is None else {"authorization": shown}
        for base, path, status in rows:
            answer = cast.world.client.get(f"{base}{path}", headers=headers)
            if answer.status_code != status:
                wrong.append(f"{caller}: {answer.url}: {answer}, not {status}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_mount_does_not_show_what_is_hidden(cast: Cast) -> None:
    """Decision 17: a blob of a repository that the caller may not pull is not mounted, and the answer is that for a
    repository that is not there; a token that does not say is sent back for one that does."""
    made, digest = cast.world, Digest.of(LAYER)
    own = "repository:rival/copy:pull,push"
    for place in (Place.APP, Place.MISSING):
        path = f"/v2/rival/copy/blobs/uploads/?mount={digest}&from={place}"
        both = f"{own} repository:{place}:pull"
        unsure = made.client.post(path, headers={"authorization": f"Bearer {made.token('stranger', own)}"})
        assert unsure.status_code == 401
        assert challenge_of(unsure)["scope"] == both
        for shown in (made.basic("stranger"), f"Bearer {made.token('stranger', both)}"):
            answer = expect(made.client.post(path, headers={"authorization": shown}), 202)
            expect(made.client.delete(answer.headers["location"], headers={"authorization": shown}), 204)
    path = f"/v2/rival/copy/blobs/uploads/?mount={digest}&from={Place.OPEN}"
    expect(made.client.post(path, headers={"authorization": made.basic("stranger")}), 201)


def test_nothing_has_changed(cast: Cast) -> None:
    """After all of that the repositories hold what they held: not a row more, not a row less."""
    after = rows_of(cast.world)
    headers = {"authorization": cast.world.basic("admin")}
    for place in EXISTING:
        tags = expect(cast.world.client.get(f"/v2/{place}/tags/list", headers=headers), 200).json()
        assert tags == {"name": place, "tags": ["v1"]}
    for table in ("manifests", "tags", "tag_history", "uploads", "grants"):
        assert after[table] == cast.before[table], table
    for table in ("repositories", "repository_blobs"):
        # The mount that was allowed made these.
        added = set(after[table]) - set(cast.before[table])
        assert len(added) == 1, added
        assert set(cast.before[table]) <= set(after[table])
