"""Scopes of the token protocol: `repository:team/app:pull,push`, and what stands for listing, `registry:catalog:*`.

Source: the token authentication specification of CNCF Distribution, "Token scope"; what clients really send is more
varied: names with a port, `repository(plugin):`, `*`, several scopes in one field and several fields.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from registry.core.access import Action
from registry.core.errors import InvalidRequest
from registry.core.limits import TOKEN_SCOPES_MAX

_ACTIONS = {
    "pull": frozenset({Action.PULL}),
    "push": frozenset({Action.PUSH}),
    "delete": frozenset({Action.DELETE}),
    "*": frozenset({Action.PULL, Action.PUSH, Action.DELETE}),
}
CATALOG_SCOPE = "registry:catalog:*"
WORD = {Action.PULL: "pull", Action.PUSH: "push", Action.DELETE: "delete"}


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a request for a token asks for: repositories by name, as texts that may be no names, and the catalog."""

    repositories: dict[str, frozenset[Action]]
    catalog: bool = False


def parse(fields: Iterable[str]) -> Scopes:
    """All scopes of all fields, those of one repository together. Types and actions that are not known are left out.
    Raises InvalidRequest for a text that is no scope, and for too many."""
    texts = [text for field in fields for text in field.split(" ") if text]
    if len(texts) > TOKEN_SCOPES_MAX:
        raise InvalidRequest(f"at most {TOKEN_SCOPES_MAX} scopes can be asked for at once")
    repositories: dict[str, frozenset[Action]] = {}
    catalog = False
    for text in texts:
        kind, name, actions = _parts(text)
        if kind == "repository":
            asked = frozenset[Action]().union(*(_ACTIONS.get(word, frozenset()) for word in actions.split(",")))
            repositories[name] = repositories.get(name, frozenset()) | asked
        elif kind == "registry" and name == "catalog":
            catalog = True
    return Scopes(repositories, catalog)


def _parts(text: str) -> tuple[str, str, str]:
    kind, colon, rest = text.partition(":")
    name, colon_after, actions = rest.rpartition(":")
    if not (kind and colon and name and colon_after):
        raise InvalidRequest("a scope is type:name:actions, such as repository:team/app:pull,push")
    return kind.partition("(")[0], name, actions


def words(actions: Iterable[Action]) -> list[str]:
    """Actions as the protocol writes them, in its usual order."""
    asked = set(actions)
    return [word for action, word in WORD.items() if action in asked]


def repository_scope(name: str, actions: Iterable[Action]) -> str:
    """The scope of actions on one repository."""
    return f"repository:{name}:{','.join(words(actions))}"
