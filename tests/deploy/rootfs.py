"""Small root file systems made of this machine's programs, for images where none can be pulled."""

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

SHELL = ("sh", "cat", "chmod", "chown", "cp", "env", "id", "install", "ls", "mkdir", "mv", "rm", "sleep")
"""What scripts in a small image may count on."""


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
        for library in ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1", "libpthread.so.0"):
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

    def tar(self) -> Iterator[bytes]:
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
        yield buffer.getvalue()

    def _parents(self) -> set[str]:
        """Every folder that a file is in, none of the root's own links."""
        paths = [PurePosixPath("/") / _merged(path) for path in (*self._files, *self._texts)]
        return {str(parent) for path in paths for parent in path.parents if parent != PurePosixPath("/")}


def _merged(path: str) -> str:
    """As it is with a merged `/usr`: then no link hides a file."""
    return re.sub(r"^/(bin|sbin|lib|lib64)/", r"usr/\1/", path).lstrip("/")


def python_base() -> RootFileSystem:
    """What stands in for a slim image of Python: Debian's python3 with venv, and certificates for pip."""
    system = RootFileSystem()
    system.add_program("/usr/bin/python3", "/usr/bin/python3")
    system.add_folder(Path("/usr/lib/python3.11"), leave_out=("test", "__pycache__", "idlelib", "lib2to3"))
    system.add_folder(Path("/usr/share/python-wheels"))
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    system.add_file(certificates)
    system.add_text("/etc/pip.conf", f"[global]\ncert = {certificates}\ndisable-pip-version-check = true\n")
    return system
