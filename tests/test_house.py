"""The rules of the house (`registry/README.md`), executable."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.api.errors import TABLE
from registry.api.v2.routes import ROUTES
from registry.core import errors
from registry.core.access import Action

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "registry"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

EVERYTHING = {"core", "metadata", "blobstore", "auth", "services", "api", "server", "jobs", "migrate"}
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "metadata": {"core"},
    "blobstore": {"core"},
    "auth": {"core"},
    "services": {"metadata", "blobstore", "auth", "core"},
    "jobs": {"services", "metadata", "blobstore", "core"},
    "api": {"services", "auth", "core", "blobstore"},
    "server": set(),
}
"""Which room may import which. `api` sees of `blobstore` only the contract of a reader (`base`)."""

ONLY_BASE = {"services", "jobs", "api"}
"""Rooms that know the contract of a blob store and none of its back ends. `services` also knows the one of the ledger,
which it keeps for them."""

OWNERS = {
    "sqlalchemy": {"metadata"},
    "alembic": {"metadata"},
    "starlette": {"api"},
    "uvicorn": {"server"},
    "httptools": {"server"},
    "uvloop": {"server"},
    "prometheus_client": {"api"},
    "pysqlite3": {"metadata"},
    "psycopg": {"metadata"},
    "aiofiles": {"blobstore"},
    "boto3": {"blobstore"},
    "botocore": {"blobstore"},
    "urllib3": {"blobstore", "auth"},
    "rehashes": {"blobstore"},
    "jwt": {"auth"},
    "jinja2": {"api"},
    "markupsafe": {"api"},
    "markdown_it": {"api"},
    "nh3": {"api"},
    "segno": {"auth"},
}
"""Packages that belong to one room."""

FUNCTION_MAX_LINES = 60
PARAMETERS_MAX = 5
HANDLER_MAX_LINES = 25
MODULE_NAMES_REFUSED = {"utils", "helpers", "common", "misc", "manager"}


def room_of(path: Path) -> str | None:
    """The room that a file is in, None for the files at the top, which may see everything."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, absolute; imports for type checking count as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A room imports only the rooms below it, and siblings never see each other."""
    room = room_of(path)
    if room is None:
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "registry" or len(parts) < 2 or parts[1] in {room, "__version__"}:
            continue
        assert parts[1] in MAY_IMPORT[room], f"{room} may not import {name}"
        if parts[1] == "blobstore" and room in ONLY_BASE:
            is_contract = parts[2:3] in ([], ["base"]) or (room == "services" and parts[2] == "ledger")
            assert is_contract, f"{room} knows blobstore.base only, not {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_belongs_to_one_room(path: Path) -> None:
    """sqlalchemy is seen in metadata only, uvicorn in server only, and so on; core has the standard library alone."""
    for name in imports_of(path):
        package = name.partition(".")[0]
        owners = OWNERS.get(package)
        is_type_only = path.name == "crew.py" and package == "uvicorn"
        assert owners is None or room_of(path) in owners or is_type_only, f"{package} belongs to {owners}"


def test_core_is_standard_library_only() -> None:
    """core is pure: nothing installed, and nothing that waits."""
    import sys

    for path in (PACKAGE / "core").glob("*.py"):
        for name in imports_of(path):
            package = name.partition(".")[0]
            assert package == "registry" or package in sys.stdlib_module_names, f"{path.name} imports {name}"
            assert package not in {"asyncio", "os", "socket", "threading"}, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path: Path) -> None:
    """No function over 60 lines or 5 parameters (keyword-only ones may be one more, with self apart)."""
    for function in functions_of(path):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= FUNCTION_MAX_LINES, f"{function.name} has {lines} lines"
        positional = [arg for arg in function.args.args if arg.arg not in {"self", "cls"}]
        assert len(positional) <= PARAMETERS_MAX, f"{function.name} has {len(positional)} parameters"


def test_handlers_are_thin() -> None:
    """A handler translates between HTTP and one use case: at most 25 lines, and no try that hides an error."""
    handlers = {route.handler.__name__ for route in ROUTES}
    for path in (PACKAGE / "api" / "v2").glob("*.py"):
        for function in functions_of(path):
            if function.name in handlers:
                lines = (function.end_lineno or 0) - function.lineno + 1
                assert lines <= HANDLER_MAX_LINES, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_errors_are_not_swallowed(path: Path) -> None:
    """`except Exception`, and BaseException where it is not raised again, stand only at the error boundaries, which say
    so; a bare except nowhere."""
    boundaries = {
        "api/boundary.py",
        "jobs/runner.py",
        "metadata/lanes.py",
        "metadata/writer.py",
        "server/cycle.py",
        "server/supervisor.py",
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}: a bare except"
            is_raised_again = isinstance(node.body[-1], ast.Raise)
            broad = isinstance(node.type, ast.Name) and (
                node.type.id == "Exception" or (node.type.id == "BaseException" and not is_raised_again)
            )
            assert not broad or str(path.relative_to(PACKAGE)) in boundaries, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_says_what_it_is(path: Path) -> None:
    """A docstring on every module, public class and public function outside the implementation of a Protocol."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_say_something(path: Path) -> None:
    """A module is one noun; a drawer for everything is none."""
    assert path.stem not in MODULE_NAMES_REFUSED


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_dangerous_is_called(path: Path) -> None:
    """SEC-051: no pickle, marshal, shelve, eval or exec in what is shipped; print only in commands."""
    for name in imports_of(path):
        assert name.partition(".")[0] not in {"pickle", "marshal", "shelve"}, f"{path} imports {name}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}, f"{path}:{node.lineno}"
            assert node.func.id != "print" or path.name == "commands.py", f"{path}:{node.lineno}"


def test_no_unfinished_business() -> None:
    """No TODO and its kin in what is shipped."""
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in words), str(path)


def all_errors() -> Iterator[type[errors.RegistryError]]:
    """Every class of the tree that can be raised."""
    waiting = [errors.RegistryError]
    while waiting:
        kind = waiting.pop()
        subclasses = kind.__subclasses__()
        waiting += subclasses
        if not subclasses:
            yield kind


def test_every_error_has_an_answer() -> None:
    """The table from errors to answers is complete, and each class is in the drawing at the top of the tree."""
    drawing = errors.__doc__ or ""
    for kind in all_errors():
        assert kind in TABLE, f"{kind.__name__} has no status"
        assert kind.__name__ in drawing, f"{kind.__name__} is not in the drawing"


def test_our_faults_are_never_the_clients() -> None:
    """I6: a failure of ours is 5xx, a mistake of the client 4xx."""
    for kind, (status, _code) in TABLE.items():
        assert (status >= 500) == issubclass(kind, errors.OurFault), kind.__name__


def test_every_route_has_an_action() -> None:
    """No endpoint without a decision who may use it; and no two rows for one method and path."""
    seen = set()
    for route in ROUTES:
        assert isinstance(route.action, Action)
        assert (route.kind, route.method) not in seen
        seen.add((route.kind, route.method))


def test_the_map_shows_every_room() -> None:
    """registry/README.md names every room and file of the package."""
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    for path in FILES:
        if path.name not in {"__init__.py", "__main__.py"}:
            assert f"`{path.stem}`" in text, f"{path.relative_to(PACKAGE)} is not on the map"
