"""The C allocator, set up for what this server does: many buffers of about a megabyte that come and go.

By default glibc gives each thread an arena of its own, takes large buffers from the kernel one by one and gives them
back at once: each megabyte is then paid for again in page faults, and freed memory stays scattered over the arenas. One
arena that keeps what it has is both cheaper and smaller here (`bench/memory.py` has the figures).
"""

import contextlib
import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES: Final = 32 * 1024 * 1024
_HEAP_BYTES: Final = 4 * 1024 * 1024
"""Buffers below this come from the heap."""


def set_up() -> None:
    """Before threads start. Does nothing where the C library has no such knobs. Until `settle` the collector of cycles
    rests: nearly everything that is made by a start stays, and to look through it again and again takes a fifth of it.
    """
    gc.disable()
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def settle() -> None:
    """When everything has been loaded: what the start needed and nobody needs again goes back to the kernel, and the
    collector of cycles never looks at the rest again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
