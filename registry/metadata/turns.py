"""Several processes that write one SQLite database take turns.

SQLite has no queue: who finds the lock taken asks again after ever longer pauses, up to a tenth of a second, and a busy
process that gives the lock back takes it again long before that. So the others got next to nothing. Here who waits asks
often, and is seen to wait by a lock of its own on a file beside the database; who wants to write again looks there
first, and lets the others go before.
"""

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAUSE_S = (0.0005, 0.002)
"""Between two questions for the lock, drawn by chance: nobody asks in step with another."""
COURTESY_S = 0.003
"""Long enough for everybody who waits to ask once."""


class Turns:
    """The turns of one process."""

    def __init__(self, database: Path, limit_s: float) -> None:
        self._file = f"{database}-turns"
        self._limit_s = limit_s

    def take(self, ask: Callable[[], bool]) -> None:
        """Ask for the lock until there is an answer, or for `limit_s`. Blocks."""
        if self.somebody_waits():
            time.sleep(COURTESY_S)
        if ask():
            return
        until = time.monotonic() + self._limit_s
        with self._waiting():
            while time.monotonic() < until:
                time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - nobody is to be kept from guessing it
                if ask():
                    return

    def somebody_waits(self) -> bool:
        """Whether another process waits for the lock."""
        try:
            with self._opened() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            # Without the file nobody can be seen to wait, and everything works as fast as chance has it.
            return False
        return False

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                # It may have to wait for somebody's look, which is over in a moment.
                fcntl.flock(stack.enter_context(self._opened()), fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        file = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            yield file
        finally:
            os.close(file)
