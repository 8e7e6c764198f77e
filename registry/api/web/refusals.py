"""Why a form was not accepted, in the language of who filled it in: beside the field where one is wrong, else above the
form."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from registry.api import errors
from registry.api.asgi import Headers
from registry.api.web.languages import Catalogue
from registry.api.web.sayings import said
from registry.core.errors import (
    AccountNameInvalid,
    Conflict,
    InvalidRequest,
    NameInvalid,
    NameUnknown,
    NotFound,
    PasswordInvalid,
    RegistryError,
    SignInRefused,
    TooManyRequests,
)

T = TypeVar("T")
FORM_ERRORS = (InvalidRequest, NotFound, Conflict, TooManyRequests, SignInRefused)
"""What somebody who fills in a form can do something about."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to show: texts by field, the one of the whole form under the empty name."""

    status: int = 200
    texts: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: int | None = None

    def of(self, name: str) -> str:
        """What is wrong with a field; empty where nothing is."""
        return self.texts.get(name, "")

    @property
    def general(self) -> str:
        """What is wrong that is no single field."""
        return self.of("")

    @property
    def headers(self) -> Headers:
        """Those of the answer that shows it."""
        return [] if self.retry_after_s is None else [(b"retry-after", str(self.retry_after_s).encode())]


NOTHING_WRONG = Refusal(texts=MappingProxyType({}))


async def tried(work: Awaitable[T], *kinds: type[RegistryError]) -> T | RegistryError:
    """What `work` returns, or the error of one of these kinds (`FORM_ERRORS` where none is named) that it raises."""
    expected = kinds or FORM_ERRORS
    try:
        return await work
    except RegistryError as error:
        if not isinstance(error, expected):
            raise
        return error


_FIELDS: dict[type[RegistryError], str] = {
    AccountNameInvalid: "name",
    PasswordInvalid: "password",
    NameInvalid: "repository",
    NameUnknown: "repository",
}


def refusal(say: Catalogue, error: RegistryError, fields: Mapping[type[RegistryError], str] | None = None) -> Refusal:
    """What to show of an error; `fields` says which field of this form an error of a class is about."""
    status, _ = errors.TABLE[type(error)]
    retry_after_s = error.facts.get("retry_after_s") if isinstance(error, TooManyRequests) else None
    name = (fields or {}).get(type(error)) or str(error.facts.get("field") or _FIELDS.get(type(error), ""))
    return Refusal(_status(status), {name: said(say, error)}, retry_after_s)


def wrong(status: int = 400, **texts: str) -> Refusal:
    """A refusal of the form itself; `general` stands above it."""
    return Refusal(status, {("" if name == "general" else name): text for name, text in texts.items()})


def _status(status: int) -> int:
    """A page that shows the form again asks for no credentials."""
    return 403 if status == 401 else status
