"""The time, as something that is handed in."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns milliseconds since 1970 UTC, as SQL stores them."""


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000
