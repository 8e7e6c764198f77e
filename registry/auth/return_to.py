"""Where a browser may be sent on to once somebody has signed in."""

from urllib.parse import unquote

from registry.core.limits import RETURN_TO_MAX_CHARS


def safe_return(text: str | None, *, default: str = "/", max_chars: int = RETURN_TO_MAX_CHARS) -> str:
    """Where to go after signing in: a path of ours, with its query; `default` for anything that a browser could take
    for another site, however often it or a proxy decodes it."""
    if not text or len(text) > max_chars or not text.isascii() or " " in text or not _is_plain(text):
        return default
    decoded = text
    for _ in range(RETURN_TO_MAX_CHARS):
        path = decoded.partition("?")[0].partition("#")[0]
        if not path.startswith("/") or "//" in path or not _is_plain(path) or {".", ".."} & set(path.split("/")):
            return default
        again = unquote(path, errors="replace")
        if again == path:
            return text
        decoded = again
    return default


def _is_plain(text: str) -> bool:
    """Without what browsers leave out, or take for a slash."""
    return not any(character < " " or character in "\\\x7f" for character in text)
