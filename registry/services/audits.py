"""The audit as people and programs read it: pages, and all of it as lines."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from registry.core.limits import LIST_PAGE_MAX
from registry.metadata import audit
from registry.metadata.audit import Filter, Page, Position, Row
from registry.metadata.database import Database

__all__ = ["Audits", "Filter", "Page", "Position", "Row", "line", "moment", "within"]

_BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Audits:
    """Reads the audit. Who may see what of it is said by `Filter.within`."""

    database: Database

    async def page(self, wanted: Filter, *, before: Position | None, count: int) -> Page:
        """The newest rows that match, at most LIST_PAGE_MAX, newest first; those before a position. A page of several
        filters may have less than what is asked for, or nothing, and yet a next one."""
        bounded = min(count, LIST_PAGE_MAX)
        return await self.database.read(lambda connection: audit.page(connection, wanted, before=before, count=bounded))

    async def actions(self) -> list[str]:
        """Every action that there is a row of."""
        return await self.database.read(audit.actions)

    async def rows(self, wanted: Filter) -> AsyncIterator[Row]:
        """All rows that match, newest first, as of now; a batch of them is in memory at a time."""
        before: Position | None = None
        while True:
            found = await self._batch(wanted, before)
            for row in found.rows:
                yield row
            if found.next_before is None:
                return
            before = found.next_before

    async def _batch(self, wanted: Filter, before: Position | None) -> Page:
        return await self.database.read(
            lambda connection: audit.page(connection, wanted, before=before, count=_BATCH_ROWS)
        )

    async def lines(self, wanted: Filter) -> AsyncGenerator[bytes]:
        """The same as JSON, one row a line, in pieces of many lines."""
        piece: list[bytes] = []
        async for row in self.rows(wanted):
            piece.append(line(row))
            if len(piece) == _BATCH_ROWS:
                yield b"".join(piece)
                piece.clear()
        if piece:
            yield b"".join(piece)


def line(row: Row) -> bytes:
    """A row as JSON with its time in UTC, and the end of the line."""
    return json.dumps({**asdict(row), "at": moment(row.at)}, ensure_ascii=False).encode("utf-8") + b"\n"


def moment(at: int) -> str:
    """A time in ms since 1970 as RFC 3339, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def within(wanted: Filter, name: str) -> Filter:
    """The same, of what concerns one account."""
    return replace(wanted, within=name)
