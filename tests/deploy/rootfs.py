"""Small root file systems made of this machine's programs, for images where none can be pulled."""

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

SHELL = ("sh", "cat", "chmod", "chown", "cp", "env", "id", "install", "ls", "mkdir", "mv", "rm", "sleep", "touch")
"""What scripts in a small image may count on."""


LIBRARIES = (
    "libnss_*.so.2",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    *(f"lib{name}.so.*" for name in ("c", "dl", "m", "pthread", "rt", "util")),
)
"""Of the C library, what wheels expect everywhere."""


class RootFileSystem:
    """Collects files, and the libraries that the programs among them need."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._texts: dict[str, tuple[bytes, int]] = {}
        for name in SHELL:
            self.add_program(name)
        self.add_text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n")
        self.add_text("/etc/group", "root:x:0:\npostgres:x:70:\n")
        self.add_text("/etc/nsswitch.conf", "hosts: files dns\n")
        for library in LIBRARIES:
            for found in Path("/lib/x86_64-linux-gnu").glob(library):
                self.add_file(found)

    def add_program(self, name: str, as_path: str | None = None) -> None:
        """A program by name or path, and its libraries; in `/usr/bin` unless `as_path` says where."""
        found = shutil.which(name)
        assert found is not None, f"{name} is not there"
        real = Path(found).resolve()
        self._files[as_path or f"/usr/bin/{Path(name).name}"] = real
        self.add_libraries(real)

    def add_libraries(self, program: Path) -> None:
        """What the loader would load for a program or a library."""
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(/\S+) \(0x", listed):
            self.add_file(Path(path))

    def add_file(self, path: Path) -> None:
        """A file where it is on this machine."""
        self._files[str(path)] = path.resolve()

    def add_as(self, path: str, source: Path) -> None:
        """A file in another place than here."""
        self._files[path] = source.resolve()

    def add_folder(self, folder: Path, *, leave_out: Iterable[str] = ()) -> None:
        """A folder where it is on this machine, links followed; `leave_out` names folders in it."""
        left = set(leave_out)
        for path in folder.rglob("*"):
            if path.is_file() and not left & set(path.relative_to(folder).parts):
                self.add_file(path)
                if ".so" in path.name:
                    self.add_libraries(path)

    def add_text(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of this text."""
        self._texts[path] = (text.encode(), mode)

    def tar(self) -> bytes:
        """All of it, as `docker import` takes it."""
        folders = {"/tmp": 0o1777, "/run": 0o755, "/root": 0o700, "/var/lib": 0o755, "/dev": 0o755, "/proc": 0o755}
        # Folders that are not named would be for root only.
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for link in ("bin", "sbin", "lib", "lib64"):
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
                archive.addfile(entry)
            for folder in sorted(self._parents() | set(folders)):
                entry = tarfile.TarInfo(folder.lstrip("/"))
                entry.type, entry.mode = tarfile.DIRTYPE, folders.get(folder, 0o755)
                archive.addfile(entry)
            for path, source in self._files.items():
                entry = archive.gettarinfo(str(source), arcname=_merged(path))
                entry.type, entry.uid, entry.gid, entry.linkname = tarfile.REGTYPE, 0, 0, ""
                entry.size = source.stat().st_size
                with source.open("rb") as file:
                    archive.addfile(entry, file)
            for path, (text, mode) in self._texts.items():
                entry = tarfile.TarInfo(_merged(path))
                entry.size, entry.mode = len(text), mode
                archive.addfile(entry, io.BytesIO(text))
        return buffer.getvalue()

    def _parents(self) -> set[str]:
        """Every folder that a file is in, none of the root's own links."""
        paths = [PurePosixPath("/") / _merged(path) for path in (*self._files, *self._texts)]
        return {str(parent) for path in paths for parent in path.parents if parent != PurePosixPath("/")}


def _merged(path: str) -> str:
    """As it is with a merged `/usr`: then no link hides a file."""
    return re.sub(r"^/(bin|sbin|lib|lib64)/", r"usr/\1/", path).lstrip("/")


def python_base(wheels: Path) -> RootFileSystem:
    """What stands in for a slim image of Python: Debian's python3 with venv. pip takes everything from a folder, so
    that a build needs no network."""
    system = RootFileSystem()
    system.add_program("/usr/bin/python3")
    system.add_folder(Path("/usr/lib/python3.11"), leave_out=("test", "__pycache__", "idlelib", "lib2to3"))
    system.add_folder(Path("/usr/share/python-wheels"))
    for wheel in wheels.iterdir():
        system.add_as(f"/wheels/{wheel.name}", wheel)
    system.add_text("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /wheels\n")
    return system


def postgresql() -> RootFileSystem:
    """What stands in for the official image, as far as its environment and its health check go."""
    system = RootFileSystem()
    [*_, folder] = sorted(Path("/usr/lib/postgresql").glob("*"))
    for program in ("initdb", "pg_isready", "postgres"):
        system.add_program(str(folder / "bin" / program), str(folder / "bin" / program))
    system.add_program("setpriv")
    system.add_folder(folder / "lib", leave_out=("bitcode", "pgxs"))
    system.add_folder(Path("/usr/share/postgresql") / folder.name, leave_out=("man",))
    system.add_text("/usr/bin/pg_isready", f'#!/bin/sh\nexec {folder}/bin/pg_isready "$@"\n', 0o755)
    # So that the folder of the volume can be reached by its owner.
    system.add_text("/var/lib/postgresql/README", "The data is below this folder.\n")
    system.add_text("/entrypoint", POSTGRESQL_START.replace("BIN", f"{folder}/bin"), 0o755)
    return system


POSTGRESQL_START = """\
#!/bin/sh
set -e
data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$data"
    chown postgres:postgres "$data"
    exec setpriv --reuid=70 --regid=70 --clear-groups /entrypoint
fi
if [ ! -s "$data/PG_VERSION" ]; then
    BIN/initdb -D "$data" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --locale=C --encoding=UTF8 \\
        --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB;" | BIN/postgres --single -D "$data" postgres >/dev/null
fi
exec BIN/postgres -D "$data" -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp
"""


def s3_gateway(program: str) -> RootFileSystem:
    """What stands in for the image of the Versity gateway."""
    system = RootFileSystem()
    system.add_program(program)
    system.add_program("wget")
    return system


def proxy(program: str) -> RootFileSystem:
    """What stands in for the image of Caddy."""
    system = RootFileSystem()
    system.add_program(program)
    return system
