"""The second factor: turned on, shown once, lost; and what a password alone still opens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from registry.auth.sealing import InstanceSecret
from registry.core.access import TokenLimits, TokenScope
from registry.core.errors import AccountInvalid, ProofRequired, TooManyRequests, Unauthenticated
from registry.core.limits import CODE_FAILURES_PER_ACCOUNT
from registry.metadata import tokens
from registry.metadata.database import Connection
from registry.metadata.tokens import NewToken
from registry.services.personal_tokens import PersonalTokens
from tests.backends import Backend
from tests.reliability.hub import ADMIN, PASSWORD
from tests.services.hall import HERE, MINUTE_MS, Hall, bytes_of, opened, refused

pytestmark = pytest.mark.anyio
TRIES = 50
STEP_MS = 30_000


@pytest.fixture
async def hall(backend: Backend) -> AsyncIterator[Hall]:
    """On each kind of database."""
    async with opened(backend.new()) as found:
        yield found


@pytest.fixture
async def codes(hall: Hall) -> list[str]:
    """The recovery codes of alice, who has a second factor, and whose last code was used a while ago."""
    found = await hall.enrol(await hall.inside())
    hall.now += 10 * MINUTE_MS
    return found


async def test_a_password_alone_opens_nothing(hall: Hall, codes: list[str]) -> None:
    """It is the first half: the session can do nothing but show a code, and ends after ten minutes."""
    pending = await hall.open()
    assert not pending.is_complete and pending.life_s == 600
    assert await hall.session(pending) is None
    assert await hall.sessions.pending(pending.secret) is not None
    hall.now += 10 * MINUTE_MS
    assert await hall.sessions.pending(pending.secret) is None
    with pytest.raises(Unauthenticated) as caught:
        await hall.with_code(pending, hall.code())
    assert caught.value.facts == {"begin_again": True}


async def test_a_code_completes_the_session_under_another_secret(hall: Hall, codes: list[str]) -> None:
    """Session fixation: who has seen the first secret has nothing."""
    pending = await hall.open()
    complete = await hall.with_code(pending, hall.code())
    assert complete.secret != pending.secret and complete.is_complete and complete.life_s == 14 * 86_400
    session = await hall.session(complete)
    assert session is not None and session.id == pending.session_id
    assert await hall.session(pending) is None and await hall.sessions.pending(pending.secret) is None
    assert await hall.sessions.pending(complete.secret) is None
    assert (await hall.audited("session.begun"))[-1] == "one-time code"


@pytest.mark.parametrize("kind", ["one-time", "recovery"])
async def test_sec065_of_many_uses_of_a_code_one_succeeds(hall: Hall, codes: list[str], kind: str) -> None:
    """SEC-065: fifty sign-ins show the same code at once, on two workers; exactly one session counts."""
    begun = [await hall.open() for _ in range(TRIES)]
    halls = (hall, hall.other())
    given = hall.code() if kind == "one-time" else codes[3]
    outcomes = await asyncio.gather(
        *(refused(halls[number % 2].with_code(pending, given)) for number, pending in enumerate(begun))
    )
    counted = Counter(outcomes)
    assert counted["no error"] == 1, counted
    assert set(counted) <= {"no error", "Unauthenticated", "TooManyRequests"}
    assert await hall.rows("SELECT count(*) FROM sessions WHERE is_complete") == [(2,)]


async def test_sec065_of_many_answers_to_one_question_one_succeeds(hall: Hall, codes: list[str]) -> None:
    """SEC-065: the same session is completed fifty times at once, each with a code of its own that is right."""
    pending = await hall.open()
    given = [*codes, *[hall.code()] * (TRIES - len(codes))]
    outcomes = Counter(await asyncio.gather(*(refused(hall.with_code(pending, one)) for one in given)))
    assert outcomes["no error"] == 1, outcomes
    # What was not let in has used up nothing.
    used = await hall.rows("SELECT last_step FROM second_factors")
    left = await hall.rows("SELECT count(*) FROM recovery_codes")
    assert (left[0][0] == 9) is (used[0][0] < hall.now // STEP_MS)


async def test_a_code_counts_once(hall: Hall, codes: list[str]) -> None:
    """Nor does the one before it count after it, and the one that turned the factor on was used by that."""
    given, earlier = hall.code(), hall.code(steps=-1)
    await hall.with_code(await hall.open(), given)
    for again in (given, earlier):
        assert await refused(hall.with_code(await hall.open(), again)) == "Unauthenticated"
    hall.now += STEP_MS
    await hall.with_code(await hall.open(), hall.code())


async def test_a_recovery_code_counts_once(hall: Hall, codes: list[str]) -> None:
    """However it is typed; those of somebody else are none."""
    await hall.with_code(await hall.open(), codes[0].replace("-", " ").upper())
    assert await refused(hall.with_code(await hall.open(), codes[0])) == "Unauthenticated"
    state = await hall.second_factor.state((await hall.accounts.get("alice")).id)
    assert state.codes_left == 9
    others = await hall.enrol(await hall.inside("carol"))
    assert await refused(hall.with_code(await hall.open(), others[0])) == "Unauthenticated"


async def test_codes_cannot_be_guessed(hall: Hall, codes: list[str]) -> None:
    """Five wrong ones, and no right one is looked at until the window is over; a right password in between, which takes
    back wrong passwords, takes back none of these."""
    for _ in range(CODE_FAILURES_PER_ACCOUNT):
        assert await refused(hall.with_code(await hall.open(), "000000")) == "Unauthenticated"
    pending = await hall.open()
    with pytest.raises(TooManyRequests):
        await hall.with_code(pending, hall.code())
    # On every worker, and for recovery codes and proofs as well.
    other = hall.other()
    for given in (hall.code(), codes[0]):
        assert await refused(other.with_code(pending, given)) == "TooManyRequests"
    assert len(await hall.audited("login.failed")) == CODE_FAILURES_PER_ACCOUNT
    hall.now += 15 * MINUTE_MS
    await hall.with_code(await hall.open(), hall.code())


async def test_a_right_code_takes_wrong_ones_back(hall: Hall, codes: list[str]) -> None:
    """Who mistypes now and then is never kept out."""
    for _ in range(3):
        for _ in range(CODE_FAILURES_PER_ACCOUNT - 1):
            assert await refused(hall.with_code(await hall.open(), "000000")) == "Unauthenticated"
        await hall.with_code(await hall.open(), hall.code())
        hall.now += STEP_MS


async def test_turning_it_on_ends_what_a_password_has_begun(hall: Hall) -> None:
    """Other sessions, and logins that clients keep; what was begun with a personal token stays."""
    alice = await hall.accounts.get("alice")
    limits = TokenLimits(frozenset({TokenScope.READ}))
    token_id, secret = await PersonalTokens(hall.database, hall.clock).create("alice", "ci", limits, ADMIN, life_s=None)

    def begin(connection: Connection) -> None:
        for number, parent in enumerate((None, token_id)):
            new = NewToken(alice.id, tokens.REFRESH, "docker", bytes([number]), None, None, parent)
            tokens.add(connection, new, now=hall.now)

    await hall.database.write(begin)
    other = await hall.open()
    mine = await hall.open()
    session = await hall.session(mine)
    assert session is not None and await hall.session(other) is not None
    await hall.enrol(session)
    await hall.changes.refresh()
    assert await hall.session(other) is None and await hall.session(mine) is not None
    assert await hall.rows("SELECT parent_id FROM tokens WHERE kind = 'refresh'") == [(token_id,)]
    assert (await hall.login.basic("alice", secret, None)).credential == f"personal token {token_id}"


async def test_clients_use_tokens_then(hall: Hall) -> None:
    """Decision 20, SEC-027: a right password of such an account has the same answer as a wrong one, also where it was
    verified a moment before; a token is as good as ever."""
    other = hall.other()
    for worker in (hall, other):
        assert (await worker.login.basic("alice", PASSWORD, None)).name == "alice"
    await hall.enrol(await hall.inside())
    answers = set()
    for worker in (hall, other):
        await worker.changes.refresh()
        for name, password in (("alice", PASSWORD), ("alice", "wrong"), ("nobody", PASSWORD)):
            with pytest.raises(Unauthenticated) as caught:
                await worker.login.basic(name, password, None)
            answers.add((caught.value.message, str(caught.value.facts)))
    assert len(answers) == 1
    limits = TokenLimits(frozenset({TokenScope.READ}))
    _, secret = await PersonalTokens(hall.database, hall.clock).create("alice", "ci", limits, ADMIN, life_s=None)
    assert (await hall.login.basic("alice", secret, None)).name == "alice"


async def test_it_counts_once_a_code_was_shown(hall: Hall) -> None:
    """What was begun and not confirmed asks for nothing, and a later beginning takes its place."""
    session = await hall.inside()
    first = await hall.second_factor.begin(session, issuer="hub.example.com")
    assert (await hall.open()).is_complete
    second = await hall.second_factor.begin(session, issuer="hub.example.com")
    assert first.secret != second.secret and second.secret not in repr(second)
    for typed, expected in ((first.secret, "Unauthenticated"), (second.secret, "no error")):
        hall.factors["alice"] = bytes_of(typed)
        assert await refused(hall.second_factor.confirm(session, hall.code(), HERE)) == expected
    assert not (await hall.open()).is_complete
    with pytest.raises(AccountInvalid, match="turn it off first"):
        await hall.second_factor.begin(session, issuer="hub.example.com")
    hall.now += STEP_MS
    again = await hall.inside_again()
    assert await refused(hall.second_factor.confirm(again, hall.code(), HERE)) == "AccountInvalid"


async def test_its_secret_is_sealed(hall: Hall) -> None:
    """SEC-013: who reads the database has no codes; what is kept of recovery codes is hashes."""
    session = await hall.inside()
    codes = await hall.enrol(session)
    [[sealed]] = await hall.rows("SELECT sealed FROM second_factors")
    assert hall.factors["alice"] not in bytes(sealed)
    stored = b"".join(bytes(row[0]) for row in await hall.rows("SELECT code_hash FROM recovery_codes"))
    assert len(stored) == 10 * 32 and not any(code.replace("-", "").encode() in stored for code in codes)
    assert not any(code in row for row in await hall.audited("second-factor.on") for code in codes)


async def test_changing_it_wants_a_proof(hall: Hall, codes: list[str]) -> None:
    """Who finds an open browser cannot take the account over; a code is the proof where there is a second factor, and
    the password none."""
    session = await hall.inside_again()
    hall.now += 11 * MINUTE_MS
    for work in (
        hall.second_factor.new_codes(session, HERE),
        hall.second_factor.turn_off(session, HERE),
        hall.second_factor.begin(session, issuer="x"),
    ):
        with pytest.raises(ProofRequired):
            await work
    assert await refused(hall.sign_in.prove(session, PASSWORD, HERE)) == "Unauthenticated"
    given = hall.code()
    await hall.sign_in.prove(session, given, HERE)
    assert await refused(hall.sign_in.prove(session, given, HERE)) == "Unauthenticated"
    new = await hall.second_factor.new_codes(session, HERE)
    assert not set(new) & set(codes)
    assert await refused(hall.with_code(await hall.open(), codes[0])) == "Unauthenticated"
    await hall.second_factor.turn_off(session, HERE)
    assert (await hall.open()).is_complete
    await hall.login.basic("alice", PASSWORD, None)
    assert await hall.rows("SELECT * FROM recovery_codes") == []
    assert await hall.audited("second-factor.off") == ["alice"]


async def test_an_admin_takes_it_off(hall: Hall, codes: list[str]) -> None:
    """For who has lost everything; also what was counted of wrong codes."""
    for _ in range(CODE_FAILURES_PER_ACCOUNT):
        await refused(hall.with_code(await hall.open(), "000000"))
    await hall.accounts.take_off_second_factor("alice", ADMIN)
    assert (await hall.open()).is_complete
    with pytest.raises(AccountInvalid):
        await hall.accounts.take_off_second_factor("alice", ADMIN)
    await hall.changes.refresh()
    await hall.enrol(await hall.inside())
    hall.now += MINUTE_MS
    await hall.with_code(await hall.open(), hall.code())


async def test_a_lost_secret_leaves_recovery_codes(hall: Hall, codes: list[str]) -> None:
    """With another instance secret no code of the app can be checked: it is a wrong one, and no fault of ours."""
    other = hall.other(secret=InstanceSecret(b"t" * 32))
    assert await refused(other.with_code(await other.open(), hall.code())) == "Unauthenticated"
    assert (await other.with_code(await other.open(), codes[0])).is_complete


async def test_it_goes_with_the_account(hall: Hall, codes: list[str]) -> None:
    """Nothing of it is left."""
    await hall.accounts.delete("alice", ADMIN)
    assert await hall.rows("SELECT * FROM second_factors") == await hall.rows("SELECT * FROM recovery_codes") == []


async def test_a_change_ends_a_sign_in_that_waits(hall: Hall, codes: list[str]) -> None:
    """A new password, between the old one and the code."""
    pending = await hall.open()
    await hall.accounts.set_password("alice", "another password", ADMIN)
    assert await refused(hall.with_code(pending, hall.code())) == "Unauthenticated"


async def test_the_password_alone_ends_no_session(hall: Hall, codes: list[str]) -> None:
    """Who knows it can begin as often as is allowed: what is complete stays."""
    complete = await hall.with_code(await hall.open(), hall.code())
    for _ in range(105):
        await hall.open()
    assert await hall.session(complete) is not None
    [[pending]] = await hall.rows("SELECT count(*) FROM sessions WHERE NOT is_complete")
    assert pending == 100
