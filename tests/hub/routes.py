"""The least that a table of routes holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Simple:
    """Method and path."""

    method: str
    path: str
