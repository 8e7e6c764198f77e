"""Blocking calls off the loop, in bounded pools, and what their errors mean."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from registry.core.errors import OurFault, StorageFull, Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Threads:
    """A bounded pool for calls that block."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)
        self.closed = False

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The pool itself. Raises Unavailable once it is closed."""
        if self.closed:
            raise Unavailable("the blob store is closed")
        return self._executor

    async def run(
        self,
        job: Callable[[*Arguments], T],
        *arguments: *Arguments,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """The job's result. An OSError becomes StorageFull or Unavailable.

        A job cannot be stopped half way. So a cancellation waits until it is done, lets `undo` release what
        it returned, and goes on only then: nobody closes a file that a thread still writes to.
        """
        hop = asyncio.get_running_loop().run_in_executor(self.executor, job, *arguments)
        cancellation: asyncio.CancelledError | None = None
        while not hop.done():
            try:
                await asyncio.wait((hop,))
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            if hop.exception() is None and undo is not None:
                undo(hop.result())
            raise cancellation
        with translated():
            return hop.result()

    async def aclose(self) -> None:
        """Refuse new jobs and wait for the running ones. Idempotent."""
        self.closed = True
        await asyncio.to_thread(self._executor.shutdown)


@contextmanager
def translated() -> Iterator[None]:
    """Turns an OSError inside into StorageFull or Unavailable; the cause stays for the log."""
    try:
        yield
    except OSError as error:
        raise failure(error) from error


def failure(error: OSError) -> OurFault:
    """What an error of the system means to the caller. Its text holds a path, so it stays in the chain."""
    if error.errno in _FULL:
        return StorageFull("the blob store is full")
    reason = os.strerror(error.errno) if error.errno is not None else "unknown error"
    return Unavailable(f"the blob store failed: {reason}")


async def unbroken(work: Coroutine[None, None, T]) -> T:
    """The result of some work that is carried out whatever happens to who waits for it; a cancellation goes on
    after."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled():
            task.exception()
        raise cancellation
    return task.result()
