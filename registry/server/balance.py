"""So that several workers on one socket get about as many connections each.

All are woken by each new connection, and left to chance it is the same few that are quickest. So each shows how many it
has, in memory that all of them share, and who has more than another leaves the next one to that for a moment.
"""

import mmap
from typing import Final

LEFT_S: Final = 0.01
"""How long a connection is left to others before it is taken all the same: they may be busy, or hang."""
_CELL_BYTES: Final = 4


class Loads:
    """The connections of each of some processes; made before they are forked."""

    def __init__(self, processes: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, processes * _CELL_BYTES)).cast("I")
        """One more than the connections, or 0 for a process that takes none."""

    def share(self, index: int) -> "Share":
        """The part of one process."""
        return Share(self._cells, index)


class Share:
    """What one process shows, and sees of the others."""

    def __init__(self, cells: "memoryview[int]", index: int) -> None:
        self._cells = cells
        self._index = index

    def show(self, connections: int) -> None:
        """Tell the others."""
        self._cells[self._index] = connections + 1

    def withdraw(self) -> None:
        """This process takes no connections any more."""
        self._cells[self._index] = 0

    @property
    def is_above_another(self) -> bool:
        """Whether somebody else has fewer."""
        own = self._cells[self._index]
        return any(0 < other < own for other in self._cells)
