"""`tests.server.echo` with several workers, as a process of its own.

`python -m tests.server.echo_crew COUNT FOLDER STOP_LIMIT_S [CERT KEY]` prints the events of the supervisor and of all
workers. Files in FOLDER say what goes wrong: in `fail`, the exit status of each worker that starts; `hang` makes
workers stay after their last request; `crash` lets them fail at their end.
"""

import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from registry.server.listener import Listener
from registry.server.orders import Post
from registry.server.run import bind, serve
from registry.server.supervisor import supervise
from registry.server.tls import ServerTls
from tests.server.echo import Lifecycle, LogEvents, app, say


@dataclass
class WorkerLifecycle(Lifecycle):
    """Says who it is."""

    ports: list[int]
    name: str
    folder: Path

    def started(self) -> None:
        say("worker started", worker=self.name, pid=os.getpid())

    def draining(self) -> None:
        say("draining", worker=self.name)

    async def stop(self) -> None:
        say("stopped", worker=self.name)
        while (self.folder / "hang").exists():
            signal.pause()
        if (self.folder / "crash").exists():
            raise SystemExit(9)


@dataclass
class EchoCrew:
    """Workers that echo."""

    listeners: list[Listener]
    folder: Path

    @property
    def ports(self) -> list[int]:
        return [listener.socket.getsockname()[1] for listener in self.listeners]

    def work(self, post: Post) -> None:
        failing = self.folder / "fail"
        if failing.exists():
            sys.exit(int(failing.read_text(encoding="ascii")))
        serve(app, self.listeners, lifecycle=WorkerLifecycle(self.ports, post.name, self.folder), post=post)

    def started(self) -> None:
        say("started", ports=self.ports)

    def ended(self, name: str) -> None:
        say("ended", worker=name)


def main() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[LogEvents("worker", "after_s", "status")])
    tls = ServerTls(Path(sys.argv[4]), Path(sys.argv[5])) if len(sys.argv) > 4 else None
    listeners = [Listener(bind("127.0.0.1", 0), tls), Listener(bind("127.0.0.1", 0), is_limited=False)]
    crew = EchoCrew(listeners, Path(sys.argv[2]))
    sockets = [listener.socket for listener in listeners]
    status = supervise(crew, int(sys.argv[1]), sockets, stop_limit_s=float(sys.argv[3]))
    say("returned", status=status)
    sys.exit(status)


if __name__ == "__main__":
    main()
