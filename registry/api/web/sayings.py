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
_OF_SIGN_ON: tuple[tuple[str, Say], ...] = (
    (
        r"this sign-in has ended, or was begun in another browser: begin again",
        lambda say: say.gettext("This sign-in has ended, or was begun in another browser: begin again."),
    ),
    (
        r"this sign-in was answered already: begin again",
        lambda say: say.gettext("This sign-in was answered already: begin again."),
    ),
    (
        r"you were signed out meanwhile: begin again",
        lambda say: say.gettext("You were signed out meanwhile: begin again."),
    ),
    (
        r"this answer is another identity provider's: begin again",
        lambda say: say.gettext("This answer is another identity provider's: begin again."),
    ),
    (
        r"the identity provider did not let you in",
        lambda say: say.gettext("The identity provider did not let you in."),
    ),
    (
        r"the identity provider did not let you in \((?P<code>[a-z_]+)\)",
        lambda say: say.gettext("The identity provider did not let you in (%(code)s)."),
    ),
    (
        r"the identity provider has sent no code: begin again",
        lambda say: say.gettext("The identity provider has sent no code: begin again."),
    ),
    (
        r"the identity provider does not know this sign-in any more: begin again",
        lambda say: say.gettext("The identity provider does not know this sign-in any more: begin again."),
    ),
    (
        r"the identity provider did not ask who you are: sign out there, and try again",
        lambda say: say.gettext("The identity provider did not ask who you are: sign out there, and try again."),
    ),
    (
        r"that was somebody else: sign in at the identity provider as yourself",
        lambda say: say.gettext("That was somebody else: sign in at the identity provider as yourself."),
    ),
    (r"the account (?P<name>\S+) is disabled", lambda say: say.gettext("The account %(name)s is disabled.")),
    (
        r"you have no account here that belongs to this identity\. .*",
        lambda say: say.gettext(
            "You have no account here that belongs to this identity. If you have one with a password, sign in with"
            " that, and link the two in your settings; else ask an admin."
        ),
    ),
    (
        r"the name (?P<name>\S+) is taken here, or was\. .*",
        lambda say: say.gettext(
            "The name %(name)s is taken here, or was. If it is yours, sign in with its password, and link the two in"
            " your settings; else ask an admin for another one."
        ),
    ),
    (
        r"the identity provider calls you (?P<name>.*), which can be no name here: .*",
        lambda say: say.gettext(
            "The identity provider calls you %(name)s, which can be no name here: ask an admin for an account, sign in"
            " with its password, and link the two in your settings."
        ),
    ),
    (
        r"(?P<name>\S+) is somebody else of this identity provider already: unlink that first",
        lambda say: say.gettext("%(name)s is somebody else of this identity provider already: unlink that first."),
    ),
    (
        r"this person of the identity provider has another account here already",
        lambda say: say.gettext("This person of the identity provider has another account here already."),
    ),
)
"""Of single sign-on."""

_COMPILED = tuple((re.compile(pattern), text) for pattern, text in (*_BY_SENTENCE, *_OF_SIGN_ON))


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
