"""`WWW-Authenticate`: where to log in. Built from configuration: the request's `Host` only chooses among known
addresses, because whoever sets it must not choose where passwords are sent.

Source: RFC 9110 §11.6.1, RFC 6750 §3; what clients need of it: several scopes in one parameter, everything quoted, one
realm and service for a host.
"""

from enum import StrEnum
from urllib.parse import urlsplit


class ChallengeKind(StrEnum):
    """What a client without a credential is told to bring."""

    BEARER = "bearer"
    """A token of the token server. Docker can pull anonymously only with this."""
    BASIC = "basic"
    """Name and password with each request, for clients that know nothing else."""


class Origins:
    """The addresses that clients know the registry by, such as `https://hub.example.com`."""

    def __init__(self, urls: list[str]) -> None:
        """`urls`: at least one, the first is the one to name where a client's own is not among them."""
        self._by_host = {urlsplit(url).netloc.lower(): url for url in urls}
        self._first = urls[0]

    @property
    def issuer(self) -> str:
        """The name that tokens are issued under."""
        return self._first

    def is_https(self, host: str | None) -> bool:
        """Whether clients that send this `Host` come by https, also where a proxy ends it."""
        return self.of(host).startswith("https://")

    @property
    def services(self) -> list[str]:
        """Every host, which is what tokens are for."""
        return list(self._by_host)

    def of(self, host: str | None) -> str:
        """The address with exactly this `Host`, else the first."""
        return self._by_host.get((host or "").lower(), self._first)

    def service(self, host: str | None) -> str:
        """The host of that address."""
        return urlsplit(self.of(host)).netloc.lower()


def bearer(origins: Origins, host: str | None, *, scope: str | None = None, error: str | None = None) -> str:
    """The challenge to bring a token that covers `scope`."""
    fields = {"realm": f"{origins.of(host)}/token", "service": origins.service(host), "scope": scope, "error": error}
    return "Bearer " + ",".join(f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None)


def basic(origins: Origins, host: str | None) -> str:
    """The challenge to bring name and password."""
    return f"Basic realm={_quoted(origins.service(host))}, charset={_quoted('UTF-8')}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
