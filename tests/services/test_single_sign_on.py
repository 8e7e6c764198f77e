"""Single sign-on: who somebody is, which account that is, and which teams and rights come with it."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from registry.auth.oidc import Client, Person, Provider
from registry.core.access import Role
from registry.core.errors import AccountInvalid, ProofRequired, ProviderFailed, SignInRefused, Unauthenticated
from registry.metadata import identities as identity_rows
from registry.services.identities import Somebody
from registry.services.sessions import Visitor
from registry.services.single_sign_on import Back, Departure, SingleSignOn, name_for
from tests.backends import Backend
from tests.backends.oidc import Canned, Claims, IdentityProvider, real_provider
from tests.reliability.hub import ADMIN, PASSWORD
from tests.services.hall import HERE, MINUTE_MS, ORIGIN, PER_ADDRESS, PERMIT, SECRET, Hall, opened, refused

pytestmark = pytest.mark.anyio
TRIES = 50
BOB: Claims = {"preferred_username": "bob", "email": "bob@example.com", "groups": ["developers"]}


@pytest.fixture
async def hall(backend: Backend) -> AsyncIterator[Hall]:
    """On each kind of database, beside a provider that knows bob, who has no account here, and an alice, who is not the
    one of that name here."""
    there = IdentityProvider(people={"id-bob": dict(BOB), "id-alice": {"preferred_username": "alice"}})
    async with opened(backend.new(), there) as found:
        yield found
    there.close()


def there(hall: Hall) -> IdentityProvider:
    """The provider."""
    assert hall.there is not None
    return hall.there


async def back(hall: Hall, subject: str = "id-bob", **changes: Any) -> Back:
    """What a browser brings back of a sign-in of its own."""
    departure = await hall.single.begin(ORIGIN, return_to="/r/acme/app", browser=None)
    return replace(await returned(hall, departure, subject), **changes)


async def returned(hall: Hall, departure: Departure, subject: str) -> Back:
    """What a browser brings back."""
    return Back(await hall.go(departure.address, subject), departure.browser, None, None, HERE)


async def test_who_comes_for_the_first_time_gets_an_account(hall: Hall) -> None:
    """Without a password; the second time it is the same, whatever the provider calls the person by then."""
    arrival = await hall.come("id-bob")
    assert arrival.return_to == "/r/acme/app" and arrival.signed_in is not None and arrival.signed_in.is_complete
    session = await hall.session(arrival.signed_in)
    assert session is not None and session.principal.name == "bob" and not session.is_admin
    there(hall).people["id-bob"] |= {"preferred_username": "carol", "email": "carol@example.com"}
    assert (await hall.arrived("id-bob")).principal.name == "bob"
    [identity] = await hall.single.identities.of("bob")
    assert (identity.issuer, identity.subject) == (there(hall).issuer, "id-bob")
    assert identity.name == "carol@example.com"
    assert await hall.audited("user.added") == ["alice", "carol", "bob"]
    assert await refused(hall.open("bob", "")) == "Unauthenticated"
    assert (await hall.audited("session.begun")) == ["single sign-on", "single sign-on"]


async def test_a_name_opens_no_account(hall: Hall) -> None:
    """Somebody whom the provider calls alice is not the alice of here, nor by an e-mail address; nothing is made."""
    there(hall).people["id-alice"] |= {"email": "alice@example.com", "email_verified": True}
    with pytest.raises(SignInRefused, match="the name alice is taken"):
        await hall.come("id-alice")
    assert await hall.rows("SELECT * FROM identities") == await hall.rows("SELECT id FROM sessions") == []
    await hall.accounts.delete("alice", ADMIN)
    with pytest.raises(SignInRefused, match="is taken here, or was"):
        await hall.come("id-alice")


async def test_nobody_gets_an_account_where_that_is_closed(hall: Hall) -> None:
    """The default: an account has to be linked first."""
    closed = hall.other(signs_up=False)
    with pytest.raises(SignInRefused, match="no account here"):
        await closed.come("id-bob")
    await hall.come("id-bob")
    assert (await closed.arrived("id-bob")).principal.name == "bob"
    closed.provider.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bob", "bob"),
        ("Bob.Smith", "bob.smith"),
        ("bob@corp.example.com", "bob"),
        ("Bob  Smith (ext)", "bob-smith-ext"),
        ("bob_smith", "bob_smith"),
        ("__bob__", "bob"),
        ("\uff22ob", "bob"),
        ("", None),
        (None, None),
        ("@corp", None),
        ("admin" * 20, None),
        ("registry", None),
        ("\u674e\u96f7", None),
    ],
)
def test_names_that_accounts_get(given: str | None, expected: str | None) -> None:
    """From what the provider calls somebody; what can be no name is no account."""
    person = Person("https://id.example.com", "1", given, None, frozenset())
    if expected is not None:
        assert name_for(person) == expected
        return
    with pytest.raises(SignInRefused, match="can be no name here"):
        name_for(person)


# Signing out


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("/realm/logout", "/logout?client_id=depotry"),
        ("/realm/logout?theme=plain", "/logout?theme=plain&client_id=depotry"),
        (None, None),
        ("javascript:alert(1)", None),
        ("http://id.example.com/logout", None),
        (7, None),
    ],
)
async def test_where_one_signs_out_of_the_provider(hall: Hall, told: Any, expected: str | None) -> None:
    """Where it says; an address that nobody should follow is none, and keeps nobody from signing in. SEC-031."""
    there(hall).sign_out_path = told
    found = await hall.single.sign_out_address()
    assert found == (None if expected is None else f"{there(hall).issuer}{expected}")
    session = await hall.arrived("id-bob")
    assert await hall.single.knows(session.account_id)
    assert not await hall.single.knows((await hall.inside("alice")).account_id)


async def test_what_a_browser_had_set_out_for(hall: Hall) -> None:
    """It can be told after its time too, of nobody else's."""
    brought = await back(hall)
    hall.now += 11 * MINUTE_MS
    errand = hall.single.errand(brought)
    assert errand is not None and (errand.purpose, errand.return_to) == ("sign-in", "/r/acme/app")
    assert hall.single.errand(replace(brought, browser="x" * 43)) is None
    assert hall.single.errand(replace(brought, query={})) is None


# One use, one browser


async def test_sec065_of_many_answers_one_counts(hall: Hall) -> None:
    """SEC-065: a browser sends the same answer fifty times at once, to two workers; exactly one session begins."""
    brought = await back(hall)
    halls = (hall, hall.other())
    outcomes = Counter(
        await asyncio.gather(*(refused(halls[number % 2].single.finish(brought)) for number in range(TRIES)))
    )
    assert outcomes == {"no error": 1, "SignInRefused": TRIES - 1}
    assert await hall.rows("SELECT count(*) FROM sessions") == [(1,)]
    halls[1].provider.close()


async def test_an_answer_that_failed_counts_no_second_time(hall: Hall) -> None:
    """Also where the provider was to blame."""
    brought = await back(hall)
    there(hall).canned["/token"] = Canned(500)
    with pytest.raises(ProviderFailed):
        await hall.single.finish(brought)
    del there(hall).canned["/token"]
    with pytest.raises(SignInRefused, match="answered already"):
        await hall.single.finish(brought)


async def test_another_browser_cannot_finish_it(hall: Hall) -> None:
    """Login CSRF: an attacker's own answer, planted in somebody's browser, signs nobody in; nor does one without its
    cookie."""
    attackers = await back(hall)
    victims = await hall.single.begin(ORIGIN, return_to="/", browser=None)
    for browser in (victims.browser, None, "x" * 43):
        with pytest.raises(SignInRefused, match="begun in another browser"):
            await hall.single.finish(replace(attackers, browser=browser))
    assert await hall.rows("SELECT id FROM sessions") == []
    # Nothing of that was taken for an answer.
    assert (await hall.single.finish(attackers)).signed_in is not None


async def test_two_tabs_of_a_browser_both_end_well(hall: Hall) -> None:
    """They share the cookie, and nothing else."""
    first = await hall.single.begin(ORIGIN, return_to="/a", browser=None)
    second = await hall.single.begin(ORIGIN, return_to="/b", browser=first.browser)
    assert first.browser == second.browser
    codes = [await returned(hall, departure, "id-bob") for departure in (second, first)]
    assert [(await hall.single.finish(one)).return_to for one in codes] == ["/b", "/a"]
    mixed = [await returned(hall, departure, "id-bob") for departure in (first, second)]
    crossed = replace(mixed[0], query={**mixed[0].query, "state": "x"})
    assert await refused(hall.single.finish(crossed)) == "SignInRefused"


async def test_a_code_of_one_sign_in_is_of_no_use_in_another(hall: Hall) -> None:
    """RFC 9700: a code that was seen somewhere cannot be injected: the verifier and the nonce are another's."""
    stolen, own = await back(hall), await back(hall, "id-alice")
    injected = replace(own, query={**own.query, "code": stolen.query["code"]})
    assert await refused(hall.single.finish(injected)) == "SignInRefused"
    assert await hall.rows("SELECT id FROM sessions") == []


CHANGES: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "no state": lambda query: {**query, "state": ""},
    "other state": lambda query: {**query, "state": query["state"][:-8] + "AAAAAAAA"},
    "cut state": lambda query: {**query, "state": query["state"][:40]},
    "state of nobody": lambda query: {**query, "state": base64.urlsafe_b64encode(b"{}" * 40).decode()},
    "state, not ASCII": lambda query: {**query, "state": "é" * 50},
    "state, too long": lambda query: {**query, "state": "A" * 5000},
    "no code": lambda query: {key: value for key, value in query.items() if key != "code"},
    "long code": lambda query: {**query, "code": "x" * 10_000},
    "another issuer": lambda query: {**query, "iss": "https://evil.example.com"},
    "an error": lambda query: {**query, "error": "access_denied"},
    "a hostile error": lambda query: {**query, "error": "<script>", "error_description": "<script>"},
}


@pytest.mark.parametrize("what", CHANGES)
async def test_answers_that_are_not_taken(hall: Hall, what: str) -> None:
    """Whatever comes in the query is refused in words of ours (SEC-032), and RFC 9207."""
    brought = await back(hall)
    with pytest.raises(SignInRefused) as caught:
        await hall.single.finish(replace(brought, query=CHANGES[what](dict(brought.query))))
    assert "<" not in caught.value.message
    assert await hall.rows("SELECT id FROM sessions") == []


async def test_who_says_no_at_the_provider_is_told_so(hall: Hall) -> None:
    """Or is not allowed in there."""
    with pytest.raises(SignInRefused, match=r"did not let you in \(access_denied\)"):
        await hall.come("nobody")


async def test_a_sign_in_ends_after_ten_minutes(hall: Hall) -> None:
    """Its answer counts for nothing then; what was kept of answers is forgotten later, when it could not count."""
    brought = await back(hall)
    await hall.come("id-bob")
    hall.now += 10 * MINUTE_MS
    with pytest.raises(SignInRefused, match="has ended"):
        await hall.single.finish(brought)
    for later_ms, left in ((0, 1), (10 * MINUTE_MS, 0)):
        hall.now += later_ms
        await hall.database.write(lambda connection: identity_rows.forget_answers(connection, now=hall.now, count=10))
        assert await hall.rows("SELECT count(*) FROM sign_ons") == [(left,)]


@pytest.mark.parametrize("hostile", ["//evil.example.com", "https:evil", "/\\evil", "/%2f%2fevil", "/x\r\ny: z", None])
async def test_sec031_nobody_is_sent_to_another_site(hall: Hall, hostile: str | None) -> None:
    """SEC-031: where to go on to is looked at before it is sealed."""
    assert (await hall.come("id-bob", return_to=hostile or "")).return_to == "/"


async def test_the_provider_is_not_asked_without_end(hall: Hall) -> None:
    """SEC-093 in spirit: whoever sends codes that it does not know, each with a sign-in of its own, is refused after so
    many as wrong passwords would be; others are not."""
    departure = await hall.single.begin(ORIGIN, return_to="/", browser=None)
    for _ in range(PER_ADDRESS):
        departure = await hall.single.begin(ORIGIN, return_to="/", browser=departure.browser)
        [state] = parse_qs(urlsplit(departure.address).query)["state"]
        invented = Back({"state": state, "code": "invented"}, departure.browser, None, None, HERE)
        assert await refused(hall.single.finish(invented)) == "SignInRefused"
    asked = there(hall).asked["/token"]
    assert await refused(hall.come("id-bob")) == "TooManyRequests"
    assert there(hall).asked["/token"] == asked == PER_ADDRESS
    elsewhere = await back(hall, visitor=Visitor("192.0.2.77"))
    assert (await hall.single.finish(elsewhere)).signed_in is not None


async def test_beginning_writes_nothing(hall: Hall) -> None:
    """A thousand that begin and never come back leave nothing behind."""
    begun = [await hall.single.begin(ORIGIN, return_to="/", browser=None) for _ in range(20)]
    assert len({departure.address for departure in begun}) == 20
    assert await hall.rows("SELECT * FROM sign_ons") == []
    assert begun[0].browser not in repr(begun[0])


async def test_the_session_of_before_ends(hall: Hall) -> None:
    """Session fixation: what the browser has held counts no longer."""
    held = await hall.open()
    arrival = await hall.come("id-bob", held=held.secret)
    assert arrival.signed_in is not None and arrival.signed_in.secret != held.secret
    assert await hall.session(held) is None


async def test_a_second_factor_is_asked_for_as_well(hall: Hall) -> None:
    """Whoever has turned it on here wants it, whatever the provider asks for."""
    await hall.enrol(await hall.arrived("id-bob"))
    hall.now += MINUTE_MS
    arrival = await hall.come("id-bob")
    assert arrival.signed_in is not None and not arrival.signed_in.is_complete
    assert await hall.session(arrival.signed_in) is None
    assert (await hall.with_code(arrival.signed_in, hall.code("bob"))).is_complete


async def test_a_disabled_account_stays_out(hall: Hall) -> None:
    """The provider cannot enable it, and neither can its groups change anything."""
    await hall.come("id-bob")
    await hall.accounts.set_disabled("bob", ADMIN, is_disabled=True)
    with pytest.raises(SignInRefused, match="is disabled"):
        await hall.come("id-bob")
    await hall.accounts.set_disabled("bob", ADMIN, is_disabled=False)
    await hall.come("id-bob")


async def test_a_deleted_account_leaves_no_identity(hall: Hall) -> None:
    """And its name is not given out again."""
    await hall.come("id-bob")
    await hall.accounts.delete("bob", ADMIN)
    assert await hall.rows("SELECT * FROM identities") == []
    with pytest.raises(SignInRefused, match="is taken here, or was"):
        await hall.come("id-bob")


# Linking


async def link(hall: Hall, name: str, subject: str) -> Back:
    """What a browser brings back that wants to link."""
    session = await hall.inside(name)
    departure = await hall.single.begin_link(session, ORIGIN, return_to="/settings", browser=None)
    return replace(await returned(hall, departure, subject), session=session)


async def test_who_is_signed_in_links_the_two(hall: Hall) -> None:
    """From then on the person of the provider is this account, and clients of it use tokens (decision 20)."""
    await hall.login.basic("alice", PASSWORD, None)
    other = await hall.open()
    brought = await link(hall, "alice", "id-alice")
    arrival = await hall.single.finish(brought)
    assert arrival.return_to == "/settings" and arrival.signed_in is None
    assert (await hall.arrived("id-alice")).principal.name == "alice"
    await hall.changes.refresh()
    assert await hall.session(other) is None
    with pytest.raises(Unauthenticated):
        await hall.login.basic("alice", PASSWORD, None)
    assert (await hall.open()).is_complete
    assert await hall.audited("identity.linked") == ["alice: alice"]


async def test_linking_wants_a_proof_and_the_same_session(hall: Hall) -> None:
    """Who finds an open browser cannot make the account its own, and an answer that comes back to another session, or
    to none, links nothing."""
    brought = await link(hall, "alice", "id-alice")
    for session in (None, await hall.inside("alice"), await hall.inside("carol")):
        fresh = await link(hall, "alice", "id-alice")
        assert await refused(hall.single.finish(replace(fresh, session=session))) == "SignInRefused"
    assert brought.session is not None
    hall.now += 9 * MINUTE_MS
    late = await hall.single.begin_link(brought.session, ORIGIN, return_to="/", browser=None)
    hall.now += 2 * MINUTE_MS
    came_late = replace(await returned(hall, late, "id-alice"), session=brought.session)
    assert await refused(hall.single.finish(came_late)) == "ProofRequired"
    with pytest.raises(ProofRequired):
        await hall.single.begin_link(brought.session, ORIGIN, return_to="/", browser=None)
    assert await hall.rows("SELECT * FROM identities") == []


async def test_a_person_has_one_account_and_an_account_one_person(hall: Hall) -> None:
    """Neither takes the place of the other."""
    await hall.come("id-bob")
    with pytest.raises(SignInRefused, match="has another account here"):
        await hall.single.finish(await link(hall, "alice", "id-bob"))
    await hall.single.finish(await link(hall, "alice", "id-alice"))
    there(hall).people["id-second"] = {}
    with pytest.raises(SignInRefused, match="unlink that first"):
        await hall.single.finish(await link(hall, "alice", "id-second"))
    await hall.single.finish(await link(hall, "alice", "id-alice"))
    assert len(await hall.rows("SELECT * FROM identities")) == 2


async def test_a_sign_in_is_no_link_and_a_link_no_sign_in(hall: Hall) -> None:
    """What a browser set out for is sealed: an answer does that, and nothing else."""
    signing = await back(hall, "id-bob", session=await hall.inside("alice"))
    await hall.single.finish(signing)
    assert [one.account_name for one in await hall.single.identities.of("bob")] == ["bob"]
    assert await hall.single.identities.of("alice") == []


async def test_unlinking(hall: Hall) -> None:
    """Needs a password, without which nobody could sign in any more; then the person is a stranger again."""
    bob = await hall.arrived("id-bob")
    with pytest.raises(AccountInvalid, match="set a password first"):
        await hall.single.unlink(bob, HERE)
    await hall.accounts.set_password("bob", PASSWORD, ADMIN, keep_session=bob.id)
    bob = await hall.arrived("id-bob")
    await hall.single.unlink(bob, HERE)
    assert await hall.single.identities.of("bob") == []
    with pytest.raises(SignInRefused):
        await hall.come("id-bob")
    assert (await hall.login.basic("bob", PASSWORD, None)).name == "bob"


async def test_an_admin_links_and_unlinks(hall: Hall) -> None:
    """By the subject, which is what the provider's own administration shows."""
    somebody = Somebody(there(hall).issuer, "id-alice", "alice")
    await hall.single.identities.link("alice", somebody, PERMIT)
    assert (await hall.arrived("id-alice")).principal.name == "alice"
    await hall.single.identities.unlink("alice", PERMIT, needs_password=False)
    assert await refused(hall.come("id-alice")) == "SignInRefused"
    assert await refused(hall.single.identities.unlink("alice", PERMIT)) == "AccountInvalid"
    assert await refused(hall.single.identities.link("nobody", somebody, PERMIT)) == "AccountUnknown"
    assert (
        await refused(hall.single.identities.link("alice", replace(somebody, subject=""), PERMIT)) == "InvalidRequest"
    )


async def test_proving_who_one_is_at_the_provider(hall: Hall) -> None:
    """For who has no password; somebody else's sign-in there is no proof."""
    await hall.come("id-bob")
    bob = await hall.arrived("id-bob")
    hall.now += 11 * MINUTE_MS
    assert await refused(hall.sessions.require_proof(bob.id, bob.proved_at)) == "ProofRequired"
    for subject, expected in (("id-alice", "SignInRefused"), ("id-bob", "no error")):
        departure = await hall.single.begin_proof(bob, ORIGIN, return_to="/settings", browser=None)
        assert "prompt=login" in departure.address and "max_age=0" in departure.address
        # The provider's clock is not the one of the test.
        there(hall).change = lambda claims: {key: value for key, value in claims.items() if key != "auth_time"}
        brought = replace(await returned(hall, departure, subject), session=bob)
        assert await refused(hall.single.finish(brought)) == expected
    await hall.sessions.require_proof(bob.id, bob.proved_at)


# Groups


async def with_teams(hall: Hall) -> None:
    """Organizations of alice with teams, of which some stand for groups."""
    for organization in ("acme", "zeta"):
        await hall.organizations.add(organization, "alice", ADMIN)
    for place, group in {
        ("acme", "devs"): "developers",
        ("acme", "ops"): "operators",
        ("acme", "plain"): None,
        ("zeta", "devs"): "developers",
    }.items():
        await hall.organizations.add_team(*place, ADMIN)
        if group is not None:
            await hall.groups.set_group(place, group, PERMIT)


async def test_teams_are_what_the_groups_say(hall: Hall) -> None:
    """SEC-012: at each sign-in the account is in exactly the teams of its groups; who left a group loses the team, and
    what was decided by it is void at once."""
    await with_teams(hall)
    await hall.come("id-bob")
    assert await hall.teams("acme") == {"devs": ["bob"], "ops": [], "plain": []}
    assert await hall.teams("zeta") == {"devs": ["bob"]}
    assert [(one.name, one.is_owner) for one in await hall.organizations.members("acme")] == [
        ("alice", True),
        ("bob", False),
    ]
    await hall.changes.refresh()
    revision = hall.changes.revision
    there(hall).people["id-bob"]["groups"] = "operators others"
    await hall.come("id-bob")
    assert await hall.teams("acme") == {"devs": [], "ops": ["bob"], "plain": []}
    assert await hall.teams("zeta") == {"devs": []}
    await hall.changes.refresh()
    bob = await hall.accounts.get("bob")
    assert not hall.changes.hold([f"a{bob.id}"], revision)
    assert await hall.audited("team.joined") == ["acme/devs: bob", "zeta/devs: bob", "acme/ops: bob"]
    assert await hall.audited("team.left") == ["acme/devs: bob", "zeta/devs: bob"]
    # No claim is no group.
    del there(hall).people["id-bob"]["groups"]
    await hall.come("id-bob")
    assert await hall.teams("acme") == {"devs": [], "ops": [], "plain": []}


async def test_nothing_else_is_touched(hall: Hall) -> None:
    """Other teams, people who do not sign in there, robots, and owners stay as they are."""
    await with_teams(hall)
    await hall.come("id-bob")
    await hall.accounts.add_robot("acme+ci", Role.NONE, ADMIN)
    await hall.organizations.set_member("acme", "carol", ADMIN, is_owner=False)
    await hall.organizations.set_member("acme", "bob", ADMIN, is_owner=True)
    for team, name in (("plain", "bob"), ("devs", "carol"), ("ops", "acme+ci")):
        await hall.organizations.set_in_team(("acme", team), name, ADMIN, is_in=True)
    there(hall).people["id-bob"]["groups"] = []
    await hall.come("id-bob")
    assert await hall.teams("acme") == {"devs": ["carol"], "ops": ["acme+ci"], "plain": ["bob"]}
    assert [one.name for one in await hall.organizations.members("acme") if one.is_owner] == ["alice", "bob"]


async def test_a_sign_in_that_changes_nothing_voids_nothing(hall: Hall) -> None:
    """Or every sign-in would make everybody's tokens be checked anew."""
    await with_teams(hall)
    await hall.come("id-bob")
    before = await hall.rows("SELECT access_revision FROM installation")
    await hall.come("id-bob")
    assert await hall.rows("SELECT access_revision FROM installation") == before


async def test_a_failed_sign_in_changes_no_team(hall: Hall) -> None:
    """SEC-066: what cannot be believed about groups neither gives nor takes."""
    await with_teams(hall)
    await hall.come("id-bob")
    there(hall).change = lambda claims: {**claims, "groups": {"developers": True}}
    with pytest.raises(ProviderFailed):
        await hall.come("id-bob")
    assert await hall.teams("acme") == {"devs": ["bob"], "ops": [], "plain": []}


async def test_admins_are_those_of_the_group(hall: Hall) -> None:
    """Where one is set, in both directions; who does not sign in there stays what it is."""
    plain = hall.other()
    await plain.come("id-bob")
    with_group = hall.other(admin_group="operators")
    there(hall).people["id-bob"]["groups"] = ["operators"]
    assert not (await plain.arrived("id-bob")).is_admin
    assert (await with_group.arrived("id-bob")).is_admin
    there(hall).people["id-bob"]["groups"] = []
    assert (await plain.arrived("id-bob")).is_admin
    assert not (await with_group.arrived("id-bob")).is_admin
    assert (await hall.accounts.get("carol")).is_admin
    assert await hall.audited("account.admin") == ["bob: yes", "bob: no"]
    plain.provider.close()
    with_group.provider.close()


async def test_the_last_admin_stays_one(hall: Hall) -> None:
    """A group that was emptied locks nobody out of the instance."""
    with_group = hall.other(admin_group="operators")
    there(hall).people["id-bob"]["groups"] = ["operators"]
    await with_group.come("id-bob")
    await hall.accounts.set_admin("carol", ADMIN, is_admin=False)
    there(hall).people["id-bob"]["groups"] = []
    assert (await with_group.arrived("id-bob")).is_admin
    with_group.provider.close()


@pytest.mark.parametrize("group", ["", "x" * 256, "a\nb", "\0"])
async def test_groups_that_can_be_none(hall: Hall, group: str) -> None:
    """Bad input changes nothing; None takes a group away."""
    await with_teams(hall)
    assert await refused(hall.groups.set_group(("acme", "devs"), group, PERMIT)) == "FieldInvalid"
    assert await refused(hall.groups.set_group(("acme", "none"), "x", PERMIT)) == "AccountUnknown"
    assert await refused(hall.groups.set_group(("alice", "devs"), "x", PERMIT)) == "AccountUnknown"
    await hall.groups.set_group(("acme", "devs"), None, PERMIT)
    await hall.come("id-bob")
    assert (await hall.teams("acme"))["devs"] == []


async def test_passwords_may_be_for_admins_alone(hall: Hall) -> None:
    """oidc_only: on pages and for clients, with the same answer as a wrong one (SEC-027)."""
    only = hall.other(only_admins_have_passwords=True)
    answers = set()
    for work in (
        only.open("alice"),
        only.open("alice", "wrong"),
        only.open("carol", "wrong"),
        only.login.basic("alice", PASSWORD, None),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await work
        answers.add((caught.value.message, str(caught.value.facts)))
    assert len(answers) == 1
    assert (await only.open("carol")).is_complete
    assert (await only.login.basic("carol", PASSWORD, None)).name == "carol"
    assert (await only.arrived("id-bob")).principal.name == "bob"
    only.provider.close()


async def test_a_real_provider_and_its_groups(backend: Backend, tmp_path: Path) -> None:
    """The whole way at an implementation that is not ours: an account at the first sign-in, and the teams of its groups
    (words of a text) at each."""
    with real_provider(tmp_path, f"{ORIGIN}/sign-in/callback", {"bob": "developers staff", "eve": "-"}) as real:
        client = Client(real.issuer, real.client_id, real.client_secret, groups_claim=real.groups_claim)
        async with opened(backend.new()) as hall:
            await with_teams(hall)
            provider = Provider(client, time)
            single = SingleSignOn(
                hall.database,
                provider,
                SECRET,
                hall.clock,
                sessions=hall.sessions,
                groups=hall.groups,
                attempts=hall.login.attempts,
                signs_up=True,
            )
            for name, expected in (("bob", ["bob"]), ("eve", ["bob"]), ("bob", ["bob"])):
                departure = await single.begin(ORIGIN, return_to="/r/acme/app", browser=None)
                _, query = await asyncio.to_thread(real.sign_in, departure.address, name)
                arrival = await single.finish(Back(query, departure.browser, None, None, HERE))
                assert arrival.signed_in is not None and arrival.return_to == "/r/acme/app"
                session = await hall.session(arrival.signed_in)
                assert session is not None and session.principal.name == name
                assert await hall.teams("acme") == {"devs": expected, "ops": [], "plain": []}
            provider.close()
