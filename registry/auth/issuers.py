"""Addresses of identity providers: which of them secrets are sent to."""

from ipaddress import ip_address
from urllib.parse import urlsplit

URL_MAX_CHARS = 2048


def url_problem(url: str, *, may_be_plain: bool) -> str | None:
    """Why nothing is sent to this URL, None if it is fine. `may_be_plain`: http to loopback will do."""
    if (
        len(url) > URL_MAX_CHARS
        or not url.isascii()
        or any(character <= " " or character in "\\\x7f" for character in url)
    ):
        return "is not a URL"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or a password"
    if not host or parts.fragment:
        return "must be https://<host>/<path>"
    if parts.scheme == "https" or (parts.scheme == "http" and may_be_plain and is_loopback(host)):
        return None
    return "must begin with https://; http:// is for a provider on this machine alone"


def issuer_problem(issuer: str) -> str | None:
    """Why this cannot be the issuer of a provider, None if it can."""
    problem = url_problem(issuer, may_be_plain=True)
    if problem is None and "?" in issuer:
        return "must be https://<host>/<path>"
    return problem


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant by a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
