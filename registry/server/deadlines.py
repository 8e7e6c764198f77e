"""One timer for all the deadlines of a connection, cheap enough to move them with every request."""

import asyncio
from collections.abc import Callable

Action = Callable[[float], None]


class Deadlines:
    """Deadlines by name. Moving one back costs a dict entry: the timer looks again when it fires."""

    __slots__ = ("_due", "_fires_at_s", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[str, tuple[float, Action]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at_s = 0.0

    def set(self, name: str, at_s: float, action: Action) -> None:
        """Call `action` once, with the time, at `at_s` of the loop's clock. Replaces the one of this name."""
        self._due[name] = (at_s, action)
        if self._timer is None or at_s < self._fires_at_s:
            self._arm(at_s)

    def clear(self, name: str) -> None:
        """Forget a deadline; one that is not set is no error."""
        self._due.pop(name, None)

    def close(self) -> None:
        """Forget everything. Nothing is called afterwards."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at_s = at_s
        self._timer = self._loop.call_at(at_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for name, (at_s, action) in list(self._due.items()):
            if at_s <= now:
                self._due.pop(name, None)
                action(now)
        if self._due:
            self._arm(min(at_s for at_s, _ in self._due.values()))
