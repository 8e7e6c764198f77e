"""The rule of access, limits of tokens, and names of accounts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.access import Action, Facts, Role, TokenLimits, TokenScope, decide
from registry.core.errors import AccountNameInvalid
from registry.core.names import AccountName, RepositoryName

NAME = RepositoryName("acme/app")
NOTHING = frozenset[Action]()
PULL = frozenset({Action.PULL})
WRITE = frozenset({Action.PULL, Action.PUSH, Action.DELETE})
ALL = WRITE | {Action.ADMINISTER}
STRANGER = Facts(
    revision=1,
    is_active=True,
    is_admin=False,
    namespace_id=1,
    owns_namespace=False,
    repository_id=2,
    is_public=False,
    role=Role.NONE,
    created_by=None,
    created_at=0,
    new_visibility=None,
)
MISSING = replace(STRANGER, repository_id=None)
UNOWNED = replace(MISSING, namespace_id=None)


@pytest.mark.parametrize(
    ("facts", "allowed"),
    [
        (STRANGER, NOTHING),
        (replace(STRANGER, role=Role.READ), PULL),
        (replace(STRANGER, role=Role.WRITE), WRITE),
        (replace(STRANGER, role=Role.ADMIN), ALL),
        (replace(STRANGER, is_public=True), PULL),
        (replace(STRANGER, is_public=True, role=Role.WRITE), WRITE),
        (replace(STRANGER, owns_namespace=True), ALL),
        (replace(STRANGER, is_admin=True), ALL),
        (MISSING, NOTHING),
        (replace(MISSING, role=Role.READ), NOTHING),
        (replace(MISSING, role=Role.WRITE), WRITE),
        (replace(MISSING, owns_namespace=True), ALL),
        (replace(MISSING, is_admin=True), ALL),
        (UNOWNED, NOTHING),
        (replace(UNOWNED, is_admin=True), ALL),
    ],
)
def test_what_each_may_do(facts: Facts, allowed: frozenset[Action]) -> None:
    """Decision 19: roles, owners, admins, what is public, and who may create; and who is disabled may nothing."""
    assert decide(facts, None, NAME) == allowed
    assert decide(replace(facts, is_active=False), None, NAME) == NOTHING


@given(
    st.builds(
        Facts,
        revision=st.just(1),
        is_active=st.booleans(),
        is_admin=st.booleans(),
        namespace_id=st.sampled_from([None, 1]),
        owns_namespace=st.booleans(),
        repository_id=st.sampled_from([None, 2]),
        is_public=st.booleans(),
        role=st.sampled_from(Role),
        created_by=st.none(),
        created_at=st.just(0),
        new_visibility=st.none(),
    ),
    st.frozensets(st.sampled_from(TokenScope)),
    st.sampled_from([None, ("acme/app",), ("acme/*",), ("other/*",)]),
)
def test_a_token_only_takes_away(facts: Facts, scopes: frozenset[TokenScope], names: tuple[str, ...] | None) -> None:
    """A personal token never allows what its account may not do, and every right of an account includes the lower."""
    whole = decide(facts, None, NAME)
    assert decide(facts, TokenLimits(scopes, names), NAME) <= whole
    assert not whole or Action.PULL in whole
    assert not whole & ALL - PULL or whole in (WRITE, ALL)
    higher = replace(facts, role=Role(min(facts.role + 1, Role.ADMIN)))
    assert whole <= decide(higher, None, NAME)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((), NOTHING),
        ((TokenScope.READ,), PULL),
        ((TokenScope.WRITE,), PULL | {Action.PUSH}),
        ((TokenScope.DELETE,), frozenset({Action.DELETE})),
        ((TokenScope.READ, TokenScope.DELETE), PULL | {Action.DELETE}),
        ((TokenScope.ADMIN,), ALL),
    ],
)
def test_scopes_of_a_token(scopes: tuple[TokenScope, ...], allowed: frozenset[Action]) -> None:
    """Write includes read, admin includes all, delete is only that."""
    limits = TokenLimits(frozenset(scopes))
    assert decide(replace(STRANGER, owns_namespace=True), limits, NAME) == allowed
    assert limits.pulls == (Action.PULL in allowed)


@pytest.mark.parametrize(
    ("entry", "covered", "others"),
    [
        ("acme/app", ["acme/app"], ["acme/app2", "acme/app/x", "acme/ap", "acme", "xacme/app", "x/acme/app"]),
        ("acme/*", ["acme/app", "acme/a/b"], ["acmeevil/x", "acme", "acme-b/x", "acme0/x", "acme.x/y", "x/acme/y"]),
        ("acme/app/*", ["acme/app/x", "acme/app/x/y"], ["acme/app", "acme/app2/x", "acme/app-x/y"]),
        ("app", ["app"], ["app/x", "acme/app", "app2"]),
    ],
)
def test_names_that_a_token_is_for(entry: str, covered: list[str], others: list[str]) -> None:
    """A name is that name alone, `name/*` all below it and not itself; nothing that only begins alike is meant."""
    limits = TokenLimits(frozenset({TokenScope.ADMIN}), (entry,))
    assert [name for name in (*covered, *others) if limits.covers(RepositoryName(name))] == covered
    assert not TokenLimits(frozenset({TokenScope.ADMIN}), ()).covers(RepositoryName("acme/app"))


@pytest.mark.parametrize(
    "text", ["a", "ann", "a.b", "a_b", "a__b", "a-b", "a--b", "0", "a" * 64, "ann+robot", "a-b+c.d"]
)
def test_names_of_accounts(text: str) -> None:
    """A component of a repository name, so that each account can own names; a robot's has its owner before a plus."""
    assert AccountName.parse(text, new=True) == text
    if "+" not in text:
        assert RepositoryName.parse(f"{text}/x").namespace == text


@pytest.mark.parametrize(
    "text",
    ["", "Ann", "ANN", "a/b", "a..b", ".a", "a.", "-a", "a___b", "a b", "a\n", "a:b", "+a", "a+", "a+b+c", "a" * 65,
     "ann+Robot", "\uff41\uff4e\uff4e", "\u0430nn", "a\u200bnn", "\ufb01n", "a%2e", "\u202eann", "ann\0", "\u00aa"],
)  # fmt: skip
def test_other_names_of_accounts_are_refused(text: str) -> None:
    """SEC-008: upper case, other scripts, full width and invisible characters make no account."""
    for new in (False, True):
        with pytest.raises(AccountNameInvalid):
            AccountName.parse(text, new=new)


@pytest.mark.parametrize("text", ["v2", "library", "token", "administrator", "robot", "anonymous", "root", "public"])
def test_reserved_names(text: str) -> None:
    """A reserved name is given to nobody; one that only begins with it is; robots have their owner's name before."""
    assert AccountName.parse(text) == text
    assert AccountName.parse(f"{text}-2", new=True) == f"{text}-2"
    assert AccountName.parse(f"ann+{text}", new=True) == f"ann+{text}"
    with pytest.raises(AccountNameInvalid, match="reserved"):
        AccountName.parse(text, new=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a-b", "a.b", True),
        ("a-b", "a_b", True),
        ("a--b", "a__b", True),
        ("a-b", "ab", False),
        ("ann", "anne", False),
        ("a-b+c", "a.b+c", True),
        ("a+b", "a-b", False),
    ],
)
def test_names_that_people_take_for_one_another(one: str, other: str, same: bool) -> None:
    """Two names that differ in their separators only have one canonical form, of which there can be one account."""
    assert (AccountName.parse(one).canonical == AccountName.parse(other).canonical) == same


@pytest.mark.parametrize(
    ("text", "plain"), [("Ann", "ann"), ("\uff41\uff4e\uff4e", "ann"), ("\ufb01n", "fin"), ("ANN-B", "ann-b")]
)
def test_a_twin_is_named(text: str, plain: str) -> None:
    """What looks like a good name after NFKC and in lower case is refused with that name as a hint."""
    with pytest.raises(AccountNameInvalid, match=f"did you mean {plain}"):
        AccountName.parse(text)


@given(st.text(max_size=70))
def test_any_text_is_an_account_name_or_refused(text: str) -> None:
    """No input raises anything but the error, and what is accepted is in its canonical form but for separators."""
    try:
        name = AccountName.parse(text)
    except AccountNameInvalid:
        return
    assert name == text
    assert name.isascii()
    assert name.replace("_", "-").replace(".", "-").replace("--", "-") == name.canonical.replace("--", "-")
