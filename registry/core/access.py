"""What can be done to a repository. Every route declares one of these."""

from enum import StrEnum


class Action(StrEnum):
    """The actions that access is decided by; `docker` and the token protocol use the same words."""

    PING = "ping"
    """Find out that this is a registry. Touches no repository."""
    CATALOG = "catalog"
    """List repositories: shows only what the caller may pull."""
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    OPERATE = "operate"
    """Health and metrics: no repository's content."""
