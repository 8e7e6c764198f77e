"""Sessions: how they begin, what they count for, and everything that ends them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from registry.auth.cookies import SESSION
from registry.core.access import session_subject
from registry.core.errors import AccountUnknown, ProofRequired, Unauthenticated
from registry.core.limits import SESSIONS_PER_ACCOUNT
from registry.metadata import sessions as session_rows
from registry.metadata.database import Connection
from registry.services.sessions import Session, Visitor
from tests.backends import Backend
from tests.reliability.hub import ADMIN, PASSWORD
from tests.services.hall import DAY_MS, HERE, MINUTE_MS, Hall, opened, refused

pytestmark = pytest.mark.anyio
NEW_PASSWORD = "another password"


@pytest.fixture
async def hall(backend: Backend) -> AsyncIterator[Hall]:
    """On each kind of database."""
    async with opened(backend.new()) as found:
        yield found


async def test_who_signs_in_is_known_by_the_cookie(hall: Hall) -> None:
    """What the database holds is a hash, from which no cookie can be made."""
    signed_in = await hall.open()
    found = await hall.session(signed_in)
    assert found is not None and signed_in.is_complete and signed_in.life_s == 14 * 86_400
    assert (found.principal.name, found.principal.credential) == ("alice", f"session {found.id}")
    assert not found.is_admin and (await hall.inside("carol")).is_admin
    [[stored]] = await hall.rows("SELECT secret_hash FROM sessions WHERE id = :id", id=found.id)
    assert bytes(stored) != signed_in.secret.encode() and signed_in.secret not in repr((signed_in, found))
    assert await hall.audited("session.begun") == ["password", "password"]
    header = SESSION.set(signed_in.secret, is_https=True, life_s=signed_in.life_s).partition(";")[0]
    of = await hall.sessions.of([header], HERE.address, is_https=True)
    assert of is not None and of.id == found.id
    assert await hall.sessions.of([header], HERE.address, is_https=False) is None


async def test_wrong_passwords_open_nothing(hall: Hall) -> None:
    """SEC-027: one answer for unknown, wrong and disabled, and no row."""
    await hall.accounts.add_user("gone", PASSWORD, ADMIN)
    await hall.accounts.set_disabled("gone", ADMIN, is_disabled=True)
    answers = set()
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("", "")):
        with pytest.raises(Unauthenticated) as caught:
            await hall.open(name, password)
        answers.add((caught.value.message, str(caught.value.facts)))
    assert len(answers) == 1
    assert await hall.rows("SELECT id FROM sessions") == []


async def test_a_secret_that_was_planted_never_counts(hall: Hall) -> None:
    """Session fixation: what the browser has held is replaced, whether it was a session or not, and that one ends."""
    planted = "x" * 43
    assert await hall.sessions.read(planted, None) is None
    first = await hall.open(replaces=planted)
    second = await hall.open("carol", replaces=first.secret)
    assert len({planted, first.secret, second.secret}) == 3
    assert await hall.sessions.read(planted, None) is None
    assert await hall.session(first) is None
    found = await hall.session(second)
    assert found is not None and found.principal.name == "carol"


async def test_words_of_forms_belong_to_a_session(hall: Hall) -> None:
    """SEC-023, SEC-024: every worker makes the same word, no two sessions have one, and it does not tell the secret."""
    first, second = await hall.open(), await hall.open()
    found = await hall.session(first)
    elsewhere = await hall.other().session(first)
    third = await hall.session(second)
    assert found is not None and elsewhere is not None and third is not None
    assert found.word == elsewhere.word != third.word and found.word != first.secret
    assert found.is_word(found.word)
    for wrong in ("", third.word, found.word[:-1], found.word + "x", first.secret, "é", "\ud800"):
        assert not found.is_word(wrong)


async def test_a_session_that_is_not_used_ends(hall: Hall) -> None:
    """After three days without a request, however often it was used before; another worker's use counts."""
    signed_in = await hall.open()
    other = hall.other()
    for _ in range(4):
        hall.now += 2 * DAY_MS
        other.now = hall.now
        assert await other.session(signed_in) is not None
    hall.now += 2 * DAY_MS
    assert await hall.session(signed_in) is not None
    hall.now += 3 * DAY_MS
    assert await hall.session(signed_in) is None


async def test_a_session_ends_after_its_time(hall: Hall) -> None:
    """After two weeks, however much it was used."""
    signed_in = await hall.open()
    for _ in range(13):
        hall.now += DAY_MS
        assert await hall.session(signed_in) is not None
    hall.now += DAY_MS
    assert await hall.session(signed_in) is None


async def test_use_is_written_down_once_a_minute(hall: Hall) -> None:
    """Where from, and when; a page with twenty pictures is one row that is written."""
    signed_in = await hall.open()
    session = await hall.session(signed_in)
    assert session is not None
    hall.now += 2 * MINUTE_MS
    await asyncio.gather(*(hall.sessions.read(signed_in.secret, "192.0.2.9") for _ in range(20)))
    [listed] = await hall.sessions.listed(session.account_id)
    assert (listed.seen_at, listed.address, listed.user_agent) == (hall.now, "192.0.2.9", HERE.user_agent)
    seen_at = hall.now
    hall.now += MINUTE_MS // 2
    await hall.sessions.read(signed_in.secret, "192.0.2.10")
    [listed] = await hall.sessions.listed(session.account_id)
    assert (listed.seen_at, listed.address) == (seen_at, "192.0.2.9")


async def test_a_session_that_is_known_costs_no_query(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages ask for it with each request."""
    signed_in = await hall.open()
    assert await hall.session(signed_in) is not None

    def asked(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(session_rows, "find", asked)
    assert await hall.session(signed_in) is not None


ENDS: dict[str, Callable[[Hall, Session], Awaitable[object]]] = {
    "password": lambda hall, _: hall.accounts.set_password("alice", NEW_PASSWORD, ADMIN),
    "disabled": lambda hall, _: hall.accounts.set_disabled("alice", ADMIN, is_disabled=True),
    "deleted": lambda hall, _: hall.accounts.delete("alice", ADMIN),
    "signed out by an admin": lambda hall, _: hall.accounts.sign_out("alice", ADMIN),
    "ended": lambda hall, session: hall.sessions.end(session, session.id, HERE),
    "all ended": lambda hall, session: hall.sessions.end_all(session.account_id, ADMIN),
}


@pytest.mark.parametrize("how", ENDS)
async def test_what_ends_a_session_ends_it_everywhere(hall: Hall, how: str) -> None:
    """SEC-012: at once where it was done, and on another worker that has it in memory as soon as it reads changes,
    which it does within 5 s."""
    signed_in = await hall.open()
    session = await hall.session(signed_in)
    other = hall.other()
    assert session is not None and await other.session(signed_in) is not None
    await ENDS[how](hall, session)
    await other.changes.refresh()
    assert await other.session(signed_in) is None
    await hall.changes.refresh()
    assert await hall.session(signed_in) is None
    assert await hall.rows("SELECT id FROM sessions") == []
    if how == "disabled":
        await hall.accounts.set_disabled("alice", ADMIN, is_disabled=False)
        assert await hall.session(signed_in) is None


async def test_signing_out(hall: Hall) -> None:
    """Ends the one of the cookie, and is no error a second time, or for no session."""
    first, second = await hall.open(), await hall.open()
    for _ in range(2):
        await hall.sessions.sign_out(first.secret, HERE.address)
    await hall.sessions.sign_out(None, None)
    assert await hall.session(first) is None and await hall.session(second) is not None
    assert await hall.audited("session.ended") == [f"session {first.session_id}"]


async def test_a_password_can_be_changed_in_a_session_that_stays(hall: Hall) -> None:
    """Every other one ends."""
    mine, other = await hall.open(), await hall.open()
    await hall.accounts.set_password("alice", NEW_PASSWORD, ADMIN, keep_session=mine.session_id)
    assert await hall.session(mine) is not None and await hall.session(other) is None


async def test_sessions_are_listed_and_ended_by_their_owner_alone(hall: Hall) -> None:
    """SEC-022: an id of somebody else's session is an id of none."""
    mine = await hall.session(
        await hall.sign_in.with_password("alice", PASSWORD, Visitor(None, "a\nb\0c"), replaces=None)
    )
    other, stranger = await hall.inside(), await hall.inside("carol")
    assert mine is not None
    listed = await hall.sessions.listed(mine.account_id)
    assert [one.id for one in listed] == [other.id, mine.id] and listed[1].user_agent == "abc"
    with pytest.raises(AccountUnknown):
        await hall.sessions.end(mine, stranger.id, HERE)
    assert await hall.sessions.end_others(mine, HERE) == 1
    assert [one.id for one in await hall.sessions.listed(mine.account_id)] == [mine.id]
    assert [one.id for one in await hall.sessions.listed(stranger.account_id)] == [stranger.id]


async def test_a_sign_in_that_meets_a_change_is_refused(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that is changed between the look at it and the session: nobody keeps a session of the old one."""
    verify = hall.passwords.verify

    async def slow(stored: str | None, password: str) -> bool:
        found = await verify(stored, password)
        await hall.accounts.set_password("alice", NEW_PASSWORD, ADMIN)
        return found

    monkeypatch.setattr(hall.passwords, "verify", slow)
    with pytest.raises(Unauthenticated):
        await hall.open()
    assert await hall.rows("SELECT id FROM sessions") == []


async def test_too_many_sessions_end_the_oldest(hall: Hall) -> None:
    """So that what one account has stays bounded."""
    account = await hall.accounts.get("alice")
    first = await hall.open()
    known = await hall.session(first)
    assert known is not None

    def fill(connection: Connection) -> None:
        for number in range(SESSIONS_PER_ACCOUNT - 1):
            new = session_rows.NewSession(account.id, bytes([number]), True, hall.now + DAY_MS, None, "")
            session_rows.add(connection, new, now=hall.now)

    await hall.database.write(fill)
    assert await hall.session(first) is not None
    last = await hall.open()
    assert await hall.session(last) is not None and await hall.session(first) is None
    [[count]] = await hall.rows("SELECT count(*) FROM sessions")
    assert count == SESSIONS_PER_ACCOUNT
    [[noted]] = await hall.rows("SELECT count(*) FROM access_changes WHERE subject = :s", s=session_subject(known.id))
    assert noted == 1


async def test_what_is_dangerous_wants_a_proof(hall: Hall) -> None:
    """Ten minutes after the password it is asked for again; another worker knows that it was shown."""
    signed_in = await hall.open()
    other = hall.other()
    session = await hall.session(signed_in)
    assert session is not None
    await hall.sessions.require_proof(session.id, session.proved_at)
    hall.now += 11 * MINUTE_MS
    other.now = hall.now
    stale = await other.session(signed_in)
    assert stale is not None
    with pytest.raises(ProofRequired):
        await hall.sessions.require_proof(session.id, session.proved_at)
    assert await refused(hall.sign_in.prove(session, "wrong", HERE)) == "Unauthenticated"
    assert await refused(hall.sessions.require_proof(session.id, session.proved_at)) == "ProofRequired"
    await hall.sign_in.prove(session, PASSWORD, HERE)
    await other.sessions.require_proof(stale.id, stale.proved_at)
    again = await hall.session(signed_in)
    assert again is not None and again.proved_at == hall.now
    hall.now -= DAY_MS
    assert await refused(hall.sessions.require_proof(session.id, again.proved_at)) == "ProofRequired"


async def test_a_session_that_has_ended_proves_nothing(hall: Hall) -> None:
    """Whoever holds what a page had read of it."""
    session = await hall.inside()
    await hall.accounts.sign_out("alice", ADMIN)
    assert await refused(hall.sign_in.prove(session, PASSWORD, HERE)) == "Unauthenticated"


async def test_ended_sessions_are_removed(hall: Hall) -> None:
    """By the work in the background: those that nobody used for long, and those after their time."""
    await hall.open()
    hall.now += 2 * DAY_MS
    kept = await hall.open()
    hall.now += 1 * DAY_MS

    def tidy(connection: Connection) -> int:
        return session_rows.remove_ended(connection, now=hall.now, seen_before=hall.now - 3 * DAY_MS, count=10)

    assert await hall.database.write(tidy) == 1
    assert await hall.rows("SELECT id FROM sessions") == [(kept.session_id,)]
    assert await hall.session(kept) is not None
