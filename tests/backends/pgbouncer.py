"""A pgbouncer in transaction mode, in front of a cluster."""

import subprocess
from pathlib import Path

from tests.backends.postgresql import OWNER, Cluster
from tests.running import free_port, require_tool, wait_until


class Pooler:
    """A running pooler."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        """Start one. Skips the test where pgbouncer is not installed."""
        program = require_tool("pgbouncer", "apt-get install pgbouncer", "/usr/sbin")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        config = cluster.folder / f"pgbouncer-{self.port}.ini"
        config.write_text(
            f"""\
[databases]
* = host=127.0.0.1 port={cluster.port} user={OWNER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_reset_query_always = 0
""",
            encoding="utf-8",
        )
        self._log = folder / "pgbouncer.log"
        with self._log.open("wb") as log:
            command = [program, str(config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **cluster.as_owner)
        wait_until(self._listens, what="pgbouncer")

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log.read_text(encoding="utf-8")
        return b"process up" in self._log.read_bytes()

    def url(self, name: str) -> str:
        """The URL of a database through it."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """Stop it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
