"""What services say about a form, in the language of who has filled it in.

Services speak English, to programs too. Here are the sentences that people meet on pages, each with what is said in its
place; what is not here is said as it is.
"""

import re
from collections.abc import Callable

from registry.api.web.languages import Catalogue
from registry.core.errors import (
    AccountNameInvalid,
    AccountUnknown,
    NameInvalid,
    NameUnknown,
    PasswordInvalid,
    RegistryError,
    TooManyRequests,
)
from registry.core.limits import PASSWORD_MIN_CHARS

Say = Callable[[Catalogue], str]

_BY_KIND: dict[type[RegistryError], Say] = {
    AccountNameInvalid: lambda say: say.gettext(
        "This name cannot be used. Names are made of a-z, 0-9 and single . _ or - between them; some are reserved, and"
        " one that somebody has, had, or that looks like it is not given out again."
    ),
    AccountUnknown: lambda say: say.gettext("There is nobody and nothing of this name here."),
    PasswordInvalid: lambda say: (
        say.gettext("A password has at least %(count)s characters.") % {"count": str(PASSWORD_MIN_CHARS)}
    ),
    NameInvalid: lambda say: say.gettext("This is not the name of a repository."),
    NameUnknown: lambda say: say.gettext("There is no such repository."),
    TooManyRequests: lambda say: say.gettext("Too many attempts. Wait a moment, and try again."),
}
"""What is said the same way whatever the reason."""

_BY_SENTENCE: tuple[tuple[str, Say], ...] = (
    (
        r"(?P<name>\S+) is the only owner of (?P<other>\S+): make another one first",
        lambda say: say.gettext("%(name)s is the only owner of %(other)s: make another one first."),
    ),
    (
        r"(?P<name>\S+) owns repositories: delete them, or move them elsewhere, first",
        lambda say: say.gettext("%(name)s owns repositories: delete them, or move them elsewhere, first."),
    ),
    (
        r"(?P<name>\S+) is the only admin of the instance: make another one first",
        lambda say: say.gettext("%(name)s is the only admin of the registry: make another one first."),
    ),
    (
        r"(?P<name>\S+) owns (?P<count>\d+) organizations, and no one may own more",
        lambda say: say.gettext("%(name)s owns %(count)s organizations, and nobody may own more."),
    ),
    (
        r"only admins of the instance make organizations here",
        lambda say: say.gettext("Only admins make organizations in this registry."),
    ),
    (
        r"(?P<other>\S+) has a team (?P<name>\S+) already",
        lambda say: say.gettext("%(other)s has a team %(name)s already."),
    ),
    (
        r"(?P<name>\S+) is neither a member nor a robot of (?P<other>\S+)",
        lambda say: say.gettext("%(name)s is neither a member nor a robot of %(other)s."),
    ),
    (
        r"(?P<name>\S+) is an organization: give roles to its members, teams and robots",
        lambda say: say.gettext("%(name)s is an organization: give roles to its members, teams and robots."),
    ),
    (
        r"(?P<name>\S+) has (?P<count>\d+) tokens: revoke some first",
        lambda say: say.gettext("%(name)s has %(count)s tokens: revoke some first."),
    ),
    (
        r"set a password first, or nobody could sign in to this account any more",
        lambda say: say.gettext("Set a password first, or nobody could sign in to this account any more."),
    ),
    (
        r"this account, or the token that was shown, may not do this",
        lambda say: say.gettext("You do not administer this."),
    ),
    (r"\w+ has at most (?P<count>\d+) characters", lambda say: say.gettext("At most %(count)s characters.")),
    (r"\w+ is one line of text", lambda say: say.gettext("One line of text.")),
    (r"a token has a name", lambda say: say.gettext("Give it a name.")),
    (
        r"a token is limited to 1 to (?P<count>\d+) repositories",
        lambda say: say.gettext("At most %(count)s repositories."),
    ),
    (r"\w+ is one of the choices", lambda say: say.gettext("Choose one of these.")),
)
_COMPILED = tuple((re.compile(pattern), text) for pattern, text in _BY_SENTENCE)


def said(say: Catalogue, error: RegistryError) -> str:
    """An error in a sentence."""
    known = _BY_KIND.get(type(error))
    if known is not None:
        return known(say)
    for pattern, text in _COMPILED:
        found = pattern.fullmatch(error.message)
        if found is not None:
            return text(say) % found.groupdict()
    return error.message[:1].upper() + error.message[1:]
