"""What is taken away is gone everywhere within 5 s: two servers on one data folder, and every way in that somebody has.

Time is measured from before the change is begun. All the while somebody else, who has nothing to do with it, gets in.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx2
import jwt
import pytest

from registry.auth.tokens import LEEWAY_S
from registry.core.access import Role, Visibility
from registry.core.digest import Digest
from registry.core.limits import ACCESS_STALE_S
from registry.core.manifest import OCI_INDEX
from tests.reliability.client import Image, expect
from tests.reliability.hub import ADMIN, ORIGIN, PASSWORD, Desk, Headers, ask, basic, bearer, push, refresh, token_of
from tests.reliability.raw import Raw
from tests.running import ADMIN_PASSWORD, Registry, wait_until

FLAGS = (
    *("--external-url", ORIGIN, "--requests-per-second", "0"),
    *("--login-failures-per-address", "100000", "--login-failures-per-account", "100000"),
)


@dataclass
class Holder:
    """Somebody who may do something to a repository, with a Basic header (None: everybody), an access token that one
    server gave and a refresh token of the other."""

    name: str
    shown: Headers | None
    pushes: bool
    token: str
    refresh_token: str | None

    @property
    def scope(self) -> str:
        """What it asks for."""
        return f"repository:{self.name}:{'pull,push' if self.pushes else 'pull'}"


@dataclass
class Pair:
    """Two servers on one data folder, a desk beside them, and a bystander."""

    servers: list[Registry]
    clients: list[httpx2.Client]
    desk: Desk
    owner: Headers
    bystander: Holder | None = field(default=None)

    def holder(self, shown: Headers | None, name: str, *, pushes: bool = False) -> Holder:
        """Somebody who gets in to both servers in every way."""
        action = "pull,push" if pushes else "pull"
        token = token_of(self.clients[0], shown, f"repository:{name}:{action}")
        kept = None if shown is None else ask(self.clients[1], shown, offline_token="true")["refresh_token"]
        found = Holder(name, shown, pushes, token, kept)
        assert self.open_ways(found) == ways(found)
        return found

    def open_ways(self, holder: Holder, among: set[str] | None = None) -> set[str]:
        """The ways in that are open, of those that are named."""
        return {way for way in among or ways(holder) if self._is_open(holder, way)}

    def _is_open(self, holder: Holder, way: str) -> bool:
        server, kind = int(way[0]), way[2:]
        client = self.clients[server]
        if kind == "basic":
            assert holder.shown is not None
            return self._gets_in(client, holder, holder.shown)
        if kind == "bearer":
            return self._gets_in(client, holder, bearer(holder.token))
        if kind == "anonymous":
            return self._gets_in(client, holder, bearer(token_of(client, None, holder.scope)))
        assert holder.refresh_token is not None
        answer = refresh(client, holder.refresh_token, holder.scope)
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200 and self._gets_in(client, holder, bearer(answer.json()["access_token"]))

    @staticmethod
    def _gets_in(client: httpx2.Client, holder: Holder, shown: Headers) -> bool:
        if holder.pushes:
            answer = client.post(f"/v2/{holder.name}/blobs/uploads/", headers=shown)
            if answer.status_code == 202:
                client.delete(answer.headers["location"], headers=shown)
        else:
            answer = client.get(f"/v2/{holder.name}/manifests/v1", headers=shown)
        assert answer.status_code in (200, 202, 401, 403, 404), answer.text
        return answer.status_code in (200, 202)

    def assert_lost(self, holder: Holder, change: Callable[[], None], *, limit_s: float = ACCESS_STALE_S) -> float:
        """Make a change: within 5 s every way in is closed, stays closed, and the bystander saw nothing of it. Returns
        the seconds."""
        began = time.monotonic()
        change()
        left = ways(holder)
        while left:
            left = self.open_ways(holder, left)
            took_s = time.monotonic() - began
            assert took_s < limit_s, f"{left} open after {took_s:.1f} s"
            self.assert_bystander_gets_in()
        for _ in range(3):
            assert self.open_ways(holder) == set()
        return took_s

    def assert_bystander_gets_in(self) -> None:
        """In every way, to both servers."""
        assert self.bystander is not None
        assert self.open_ways(self.bystander) == ways(self.bystander)


def ways(holder: Holder) -> set[str]:
    """Every way in."""
    kinds = ("bearer", "anonymous") if holder.shown is None else ("bearer", "basic", "refresh")
    return {f"{server} {kind}" for server in (0, 1) for kind in kinds}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """For the whole module; each test has users and repositories of its own."""
    data = tmp_path_factory.mktemp("pair") / "data"
    servers: list[Registry] = []
    try:
        servers.append(Registry.start(data, *FLAGS, is_open=False))
        servers.append(Registry.start(data, *FLAGS, is_open=False))
        desk = Desk(data)
        clients = [server.client() for server in servers]
        found = Pair(servers, clients, desk, desk.user("olga"))
        push(servers[0], desk.user("walter"), "walter/app")
        found.bystander = found.holder(basic("walter", PASSWORD), "walter/app")
        yield found
        for server in servers:
            assert [line for line in server.log_lines() if line["level"] == "error"] == []
        for client in clients:
            client.close()
        desk.close()
    finally:
        for server in servers:
            server.kill()


@dataclass
class Case:
    """One thing that can be taken away, with names of its own."""

    pair: Pair
    name: str

    @property
    def desk(self) -> Desk:
        """Where it is taken away."""
        return self.pair.desk

    @property
    def repository(self) -> str:
        """A private repository of olga."""
        return f"olga/{self.name}"

    def user(self) -> Headers:
        """A user who has no role yet, while olga's repository is there."""
        push(self.pair.servers[0], self.pair.owner, self.repository)
        return self.desk.user(self.name)

    def reader(self) -> Headers:
        """A user who may read olga's repository."""
        shown = self.user()
        self.desk.give(self.repository, self.name, Role.READ)
        return shown

    def team(self) -> Headers:
        """A user in a team of an organization that may read a repository of that; its name is `org_repository`."""
        shown = self.user()
        self.desk.organization(self.org, "olga")
        self.desk.member(self.org, self.name)
        push(self.pair.servers[0], self.pair.owner, self.org_repository)
        self.desk.team(self.org, "devs", self.name)
        return shown

    @property
    def org(self) -> str:
        """An organization of olga."""
        return f"{self.name}-org"

    @property
    def org_repository(self) -> str:
        """A private repository of it."""
        return f"{self.org}/app"


Change = tuple[Holder, Callable[[], None]]


def disable_user(case: Case) -> Change:
    """The account is disabled."""
    holder = case.pair.holder(case.reader(), case.repository)
    return holder, lambda: case.desk.run(case.desk.accounts.set_disabled(case.name, ADMIN, is_disabled=True))


def delete_user(case: Case) -> Change:
    """The account is deleted."""
    holder = case.pair.holder(case.reader(), case.repository)
    return holder, lambda: case.desk.run(case.desk.accounts.delete(case.name, ADMIN))


def take_role(case: Case) -> Change:
    """The role on the repository is taken away."""
    holder = case.pair.holder(case.reader(), case.repository)
    return holder, lambda: case.desk.give(case.repository, case.name, Role.NONE)


def lower_role(case: Case) -> Change:
    """Who could push can only pull."""
    shown = case.user()
    case.desk.give(case.repository, case.name, Role.WRITE)
    holder = case.pair.holder(shown, case.repository, pushes=True)
    return holder, lambda: case.desk.give(case.repository, case.name, Role.READ)


def take_namespace_role(case: Case) -> Change:
    """The role on a whole namespace is taken away."""
    shown = case.team()
    case.desk.give(f"{case.org}/*", case.name, Role.READ)
    holder = case.pair.holder(shown, case.org_repository)
    return holder, lambda: case.desk.give(f"{case.org}/*", case.name, Role.NONE)


def leave_organization(case: Case) -> Change:
    """A member with a role is put out of the organization."""
    shown = case.team()
    case.desk.give(case.org_repository, case.name, Role.READ)
    holder = case.pair.holder(shown, case.org_repository)
    return holder, lambda: case.desk.run(case.desk.organizations.remove_member(case.org, case.name, ADMIN))


def leave_organization_with_team(case: Case) -> Change:
    """A member of a team with a role is put out of the organization."""
    shown = case.team()
    case.desk.give(case.org_repository, f"team:{case.org}/devs", Role.READ)
    holder = case.pair.holder(shown, case.org_repository)
    return holder, lambda: case.desk.run(case.desk.organizations.remove_member(case.org, case.name, ADMIN))


def lower_owner(case: Case) -> Change:
    """An owner of an organization becomes a member."""
    shown = case.team()
    case.desk.member(case.org, case.name, is_owner=True)
    holder = case.pair.holder(shown, case.org_repository, pushes=True)
    return holder, lambda: case.desk.member(case.org, case.name)


def leave_team(case: Case) -> Change:
    """A member leaves a team with a role on the namespace."""
    shown = case.team()
    case.desk.give(f"{case.org}/*", f"team:{case.org}/devs", Role.READ)
    holder = case.pair.holder(shown, case.org_repository)
    place = (case.org, "devs")
    return holder, lambda: case.desk.run(case.desk.organizations.set_in_team(place, case.name, ADMIN, is_in=False))


def take_role_of_team(case: Case) -> Change:
    """The role of a team is taken away."""
    shown = case.team()
    case.desk.give(case.org_repository, f"team:{case.org}/devs", Role.READ)
    holder = case.pair.holder(shown, case.org_repository)
    return holder, lambda: case.desk.give(case.org_repository, f"team:{case.org}/devs", Role.NONE)


def remove_team(case: Case) -> Change:
    """A team with a role in its organization is removed."""
    shown = case.team()
    case.desk.give(case.org_repository, f"team:{case.org}/devs", Role.READ)
    holder = case.pair.holder(shown, case.org_repository)
    return holder, lambda: case.desk.run(case.desk.organizations.remove_team(case.org, "devs", ADMIN))


def remove_team_with_a_role_elsewhere(case: Case) -> Change:
    """A team is removed that has a role on somebody else's repository."""
    shown = case.team()
    case.desk.give(case.repository, f"team:{case.org}/devs", Role.READ)
    holder = case.pair.holder(shown, case.repository)
    return holder, lambda: case.desk.run(case.desk.organizations.remove_team(case.org, "devs", ADMIN))


def delete_organization_with_a_role_elsewhere(case: Case) -> Change:
    """An organization is deleted whose team has a role on somebody else's repository."""
    shown = case.team()
    case.desk.delete(case.org_repository)
    case.desk.give("olga/*", f"team:{case.org}/devs", Role.READ)
    holder = case.pair.holder(shown, case.repository)
    return holder, lambda: case.desk.run(case.desk.accounts.delete(case.org, ADMIN))


def revoke_personal_token(case: Case) -> Change:
    """A personal token is revoked, with the login that was begun with it."""
    case.reader()
    token_id, secret = case.desk.personal_token(case.name)
    holder = case.pair.holder(basic(case.name, secret), case.repository)
    return holder, lambda: case.desk.run(case.desk.tokens.revoke(token_id, ADMIN))


def change_password(case: Case) -> Change:
    """The password is another one: the old one, and what was got with it, ends."""
    holder = case.pair.holder(case.reader(), case.repository)
    return holder, lambda: case.desk.run(case.desk.accounts.set_password(case.name, "quite another one", ADMIN))


def hide(case: Case) -> Change:
    """A public repository becomes private, for somebody who has no role."""
    shown = case.user()
    case.desk.show(case.repository, Visibility.PUBLIC)
    holder = case.pair.holder(shown, case.repository)
    return holder, lambda: case.desk.show(case.repository, Visibility.PRIVATE)


def hide_from_everybody(case: Case) -> Change:
    """A public repository becomes private, for who has not logged in."""
    case.user()
    case.desk.show(case.repository, Visibility.PUBLIC)
    holder = case.pair.holder(None, case.repository)
    return holder, lambda: case.desk.show(case.repository, Visibility.PRIVATE)


def disable_robot(case: Case) -> Change:
    """A robot is disabled."""
    case.user()
    shown = case.desk.robot(f"olga+{case.name}", Role.WRITE)
    holder = case.pair.holder(shown, case.repository, pushes=True)
    return holder, lambda: case.desk.run(case.desk.accounts.set_disabled(f"olga+{case.name}", ADMIN, is_disabled=True))


def delete_robot(case: Case) -> Change:
    """A robot is deleted."""
    case.user()
    shown = case.desk.robot(f"olga+{case.name}", Role.READ)
    holder = case.pair.holder(shown, case.repository)
    return holder, lambda: case.desk.run(case.desk.accounts.delete(f"olga+{case.name}", ADMIN))


def disable_owner_of_robot(case: Case) -> Change:
    """The account that owns a robot is disabled."""
    name = f"{case.name}/app"
    push(case.pair.servers[0], case.user(), name)
    holder = case.pair.holder(case.desk.robot(f"{case.name}+ci", Role.READ), name)
    return holder, lambda: case.desk.run(case.desk.accounts.set_disabled(case.name, ADMIN, is_disabled=True))


def demote_admin(case: Case) -> Change:
    """An admin of the instance becomes a user like others."""
    shown = case.user()
    case.desk.run(case.desk.accounts.set_admin(case.name, ADMIN, is_admin=True))
    holder = case.pair.holder(shown, case.repository, pushes=True)
    return holder, lambda: case.desk.run(case.desk.accounts.set_admin(case.name, ADMIN, is_admin=False))


def delete_repository(case: Case) -> Change:
    """The repository is deleted."""
    holder = case.pair.holder(case.reader(), case.repository)
    return holder, lambda: case.desk.delete(case.repository)


def give_to_the_instance(case: Case) -> Change:
    """The repository of a user is given to the instance."""
    name = f"{case.name}/app"
    shown = case.user()
    push(case.pair.servers[0], shown, name)
    holder = case.pair.holder(shown, name)
    return holder, lambda: case.desk.run(case.desk.repositories.assign(case.desk.way_in(name), None))


CHANGES = [
    disable_user,
    delete_user,
    take_role,
    lower_role,
    take_namespace_role,
    leave_organization,
    leave_organization_with_team,
    lower_owner,
    leave_team,
    take_role_of_team,
    remove_team,
    remove_team_with_a_role_elsewhere,
    delete_organization_with_a_role_elsewhere,
    revoke_personal_token,
    change_password,
    hide,
    hide_from_everybody,
    disable_robot,
    delete_robot,
    disable_owner_of_robot,
    demote_admin,
    delete_repository,
    give_to_the_instance,
]


@pytest.mark.parametrize("make", CHANGES, ids=lambda make: make.__name__)
def test_what_is_taken_away_is_gone(pair: Pair, make: Callable[[Case], Change]) -> None:
    """SEC-012: access token, Basic credential and refresh token end on both servers within 5 s, for good."""
    name = make.__name__.replace("_", "-")
    holder, change = make(Case(pair, name))
    took_s = pair.assert_lost(holder, change)
    print(f"{name}: {took_s:.2f} s")


def test_the_rest_of_an_account_goes_on(pair: Pair) -> None:
    """SEC-012: a personal token that is revoked ends alone: password, other tokens and their logins never fail."""
    case = Case(pair, "one-of-many")
    others = [case.reader(), basic(case.name, case.desk.personal_token(case.name)[1])]
    holders = [pair.holder(shown, case.repository) for shown in others]
    token_id, secret = case.desk.personal_token(case.name)
    gone = pair.holder(basic(case.name, secret), case.repository)

    def revoke() -> None:
        case.desk.run(case.desk.tokens.revoke(token_id, ADMIN))

    pair.assert_lost(gone, revoke)
    for holder in holders:
        assert pair.open_ways(holder) == ways(holder)


def test_a_personal_token_ends_in_time(pair: Pair) -> None:
    """SEC-012: an expiry needs nobody who tells of it; an access token counts for the leeway longer."""
    case = Case(pair, "short-lived")
    case.reader()
    holder = pair.holder(basic(case.name, case.desk.personal_token(case.name, life_s=2)[1]), case.repository)
    pair.assert_lost(holder, lambda: None, limit_s=2 + LEEWAY_S)


def test_a_name_that_somebody_else_has_now(pair: Pair) -> None:
    """SEC-034: a repository is deleted and made again under its name by another tenant: the old token opens it neither
    for pull, nor push, nor as the source of a mount, on either server."""
    case = Case(pair, "reborn")
    shown = case.team()
    name = case.org_repository
    other = case.desk.user("reborn-other")
    case.desk.member(case.org, "reborn-other")
    case.desk.give(f"{case.org}/*", "reborn-other", Role.WRITE)
    case.desk.give(name, case.name, Role.WRITE)
    holder = pair.holder(shown, name, pushes=True)
    scopes = [f"repository:{name}:pull,push,delete", f"repository:{case.name}/mine:pull,push"]
    old = bearer(token_of(pair.clients[0], shown, *scopes))
    made: list[Image] = []

    def again() -> bool:
        """The other server may not have heard of the end of the old one yet."""
        try:
            made.append(push(pair.servers[1], other, name))
        except AssertionError:
            return False
        return True

    def change() -> None:
        case.desk.delete(name)
        wait_until(again, limit_s=ACCESS_STALE_S, what="the new repository")

    pair.assert_lost(holder, change)
    digest = Digest.of(made[0].blobs[0])

    def has_ended() -> bool:
        """Until a server has heard of the end, the token leads to the repository that is gone, which is 404."""
        answers = [client.get(f"/v2/{name}/manifests/v1", headers=old) for client in pair.clients]
        assert all(answer.status_code in (401, 404) for answer in answers)
        return all(answer.status_code == 401 for answer in answers)

    wait_until(has_ended, limit_s=ACCESS_STALE_S, what="the end of the token")
    for client in pair.clients:
        for method, path in [
            ("GET", f"/v2/{name}/manifests/v1"),
            ("GET", f"/v2/{name}/tags/list"),
            ("HEAD", f"/v2/{name}/blobs/{digest}"),
            ("GET", f"/v2/{name}/referrers/{digest}"),
            ("POST", f"/v2/{name}/blobs/uploads/"),
            ("PUT", f"/v2/{name}/manifests/v1"),
            ("DELETE", f"/v2/{name}/manifests/v1"),
            ("POST", f"/v2/{case.name}/mine/blobs/uploads/?mount={digest}&from={name}"),
            ("POST", f"/v2/{case.name}/mine/blobs/uploads/?mount={digest}"),
        ]:
            assert client.request(method, path, headers=old).status_code == 401, (method, path)
        for source in (f"&from={name}", ""):
            path = f"/v2/{case.name}/mine/blobs/uploads/?mount={digest}{source}"
            assert client.post(path, headers=shown).status_code == 202
            assert client.head(f"/v2/{case.name}/mine/blobs/{digest}", headers=shown).status_code == 404
    assert pair.clients[0].get(f"/v2/{name}/manifests/v1", headers=other).content == made[0].manifest


def test_a_name_that_somebody_else_took_first(pair: Pair) -> None:
    """SEC-034: a token for a repository that is not there yet counts for the one that its holder makes, not for the one
    that another member of the organization makes after that was deleted."""
    case = Case(pair, "unborn")
    shown, other = case.team(), case.desk.user("unborn-other")
    case.desk.give(f"{case.org}/*", case.name, Role.WRITE)
    case.desk.member(case.org, "unborn-other")
    case.desk.give(f"{case.org}/*", "unborn-other", Role.WRITE)
    name = f"{case.org}/new"
    old = bearer(token_of(pair.clients[0], shown, f"repository:{name}:pull,push"))
    mine = push(pair.servers[0], old, name)
    for client in pair.clients:
        assert client.get(f"/v2/{name}/manifests/v1", headers=old).content == mine.manifest
    case.desk.delete(name)
    theirs: list[Image] = []

    def again() -> bool:
        try:
            theirs.append(push(pair.servers[1], other, name))
        except AssertionError:
            return False
        return True

    wait_until(again, limit_s=ACCESS_STALE_S)

    def is_refused() -> bool:
        answers = [client.get(f"/v2/{name}/manifests/v1", headers=old) for client in pair.clients]
        answers += [client.post(f"/v2/{name}/blobs/uploads/", headers=old) for client in pair.clients]
        assert theirs[0].manifest not in [answer.content for answer in answers]
        return all(answer.status_code == 401 for answer in answers)

    wait_until(is_refused, limit_s=ACCESS_STALE_S)


def test_a_new_key_disturbs_nobody(pair: Pair) -> None:
    """SEC-012: after `key rotate` both servers sign with the new key within seconds; tokens of the old one, and new
    ones, count on both the whole time."""
    old_kid = kid(pair.clients[0])
    new_kid = pair.servers[0].command("key", "rotate").split()[-1]
    deadline = time.monotonic() + 20
    while {kid(client) for client in pair.clients} != {new_kid}:
        assert {kid(client) for client in pair.clients} <= {old_kid, new_kid}
        assert time.monotonic() < deadline
        pair.assert_bystander_gets_in()
        for made, shown in ((0, 1), (1, 0)):
            token = token_of(pair.clients[made], basic("walter", PASSWORD), "repository:walter/app:pull")
            answer = pair.clients[shown].get("/v2/walter/app/manifests/v1", headers=bearer(token))
            assert answer.status_code == 200
    pair.assert_bystander_gets_in()
    for client in pair.clients:
        kids = [key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]]
        assert {old_kid, new_kid} <= set(kids)


def kid(client: httpx2.Client) -> str:
    """The name of the key that a server signs with now."""
    found: str = jwt.get_unverified_header(token_of(client, None))["kid"]
    return found


def test_a_key_that_leaked_ends_at_once(pair: Pair) -> None:
    """SEC-012: `key rotate --at-once` ends every access token on both servers within 5 s; passwords and refresh tokens
    go on."""
    case = Case(pair, "leaked")
    holder = pair.holder(case.reader(), case.repository)
    old_kid = kid(pair.clients[0])
    assert pair.bystander is not None
    began = time.monotonic()
    new_kid = pair.servers[0].command("key", "rotate", "--at-once").split()[-1]
    left = {"0 bearer", "1 bearer"}
    while left:
        left = pair.open_ways(holder, left)
        assert time.monotonic() - began < ACCESS_STALE_S
        assert pair.open_ways(holder, {"0 basic", "1 basic"}) == {"0 basic", "1 basic"}
    for client in pair.clients:
        kids = [key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]]
        assert kids == [new_kid] != [old_kid]
    assert pair.open_ways(holder) == ways(holder) - {"0 bearer", "1 bearer"}
    pair.bystander = pair.holder(pair.bystander.shown, pair.bystander.name)


def test_what_one_worker_made_another_takes(pair: Pair) -> None:
    """SEC-024: tokens, refresh tokens and uploads of one server, used on the other: no failure in 400 requests."""
    case = Case(pair, "state")
    shown = case.user()
    content = b"0123456789" * 100
    digest = Digest.of(content)
    name = f"{case.name}/app"
    for turn in range(50):
        one, two = pair.clients[turn % 2], pair.clients[(turn + 1) % 2]
        begun = ask(one, shown, f"repository:{name}:pull,push", offline_token="true")
        token = expect(refresh(two, begun["refresh_token"], f"repository:{name}:pull,push"), 200).json()["access_token"]
        location = expect(two.post(f"/v2/{name}/blobs/uploads/", headers=bearer(begun["token"])), 202).headers[
            "location"
        ]
        first = expect(one.patch(location, content=content[:500], headers=bearer(token)), 202).headers["location"]
        assert expect(two.get(first, headers=bearer(token)), 204).headers["range"] == "0-499"
        second = expect(two.patch(first, content=content[500:], headers=bearer(begun["token"])), 202).headers[
            "location"
        ]
        expect(one.put(f"{second}?digest={digest}", headers=bearer(token)), 201)
        assert expect(two.get(f"/v2/{name}/blobs/{digest}", headers=bearer(begun["token"])), 200).content == content


def test_a_change_counts_in_the_next_token(pair: Pair) -> None:
    """A token that was got right after a repository was changed, on any server, is as good a few seconds later:
    nobody's push is cut off because a worker hears of the change in its middle."""
    case = Case(pair, "at-once")
    owner = case.user()
    image = push(pair.servers[0], owner, f"{case.name}/app")
    manifest = f"/v2/{case.name}/app/manifests/{image.tag}"
    for turn in range(6):
        client = pair.clients[turn % 2]
        pair.desk.show(f"{case.name}/app", Visibility.PUBLIC)
        token = token_of(client, owner, f"repository:{case.name}/app:pull")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert client.get(manifest, headers=bearer(token)).status_code == 200


def test_a_request_that_began_before_changes_nothing_after(pair: Pair) -> None:
    """SEC-012: who sends the end of a manifest or blob after its account was disabled has pushed nothing."""
    case = Case(pair, "slow")
    shown = case.user()
    push(pair.servers[0], shown, f"{case.name}/app")
    content = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    blob = f"POST /v2/{case.name}/app/blobs/uploads/?digest={Digest.of(content)} HTTP/1.1"
    manifest = f"PUT /v2/{case.name}/app/manifests/slow HTTP/1.1\r\nContent-Type: {OCI_INDEX}"
    login = f"Authorization: {shown['authorization']}\r\nContent-Length: {len(content)}\r\nHost: x\r\n\r\n"
    with Raw(pair.servers[0].port) as first, Raw(pair.servers[0].port) as second:
        for raw, line in ((first, blob), (second, manifest)):
            raw.send(f"{line}\r\n{login}".encode() + content[:10])
        wait_until(lambda: not pair.clients[0].get("/v2/", headers=shown).is_error, what="the server at work")
        case.pair.desk.run(case.pair.desk.accounts.set_disabled(case.name, ADMIN, is_disabled=True))
        for raw in (first, second):
            raw.send(content[10:])
            assert raw.answer().status == 401
    admin = basic("admin", ADMIN_PASSWORD)
    assert pair.clients[0].get(f"/v2/{case.name}/app/manifests/slow", headers=admin).status_code == 404


def test_the_first_admin_is_the_same_on_both(pair: Pair) -> None:
    """SEC-024: two servers that start on one folder have one admin, one key and one secret."""
    shown = basic("admin", ADMIN_PASSWORD)
    for client in pair.clients:
        assert client.get("/v2/", headers=shown).status_code == 200
    kids = [client.get("/.well-known/jwks.json").json() for client in pair.clients]
    assert kids[0] == kids[1]
