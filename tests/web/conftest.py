"""A filled registry: its data once, and an application on it in this process, where statements can be counted."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Engine, event

from registry import config
from registry.app import Application, open_stores
from tests.reliability.hub import basic
from tests.running import ADMIN_PASSWORD, Registry
from tests.web.world import PASSWORD, fill

ORIGIN = "http://registry.test"
NOBODY: dict[str, str] = {}


@dataclass
class Pages:
    """A browser without a window. `statements`: what was asked of the database."""

    client: httpx2.AsyncClient
    statements: list[str] = field(default_factory=list)

    async def get(self, path: str, who: str = "", *, status: int = 200, piece: bool = False) -> str:
        """A page as somebody sees it, or with `piece` what htmx gets."""
        headers = {"hx-request": "true", "hx-request-type": "partial"} if piece else {}
        answer = await self.client.get(path, headers=headers | self.shown(who))
        assert answer.status_code == status, f"{path}: {answer.status_code}: {answer.text[:2000]}"
        return answer.text

    async def post(self, path: str, who: str, form: dict[str, object]) -> httpx2.Response:
        """Send a form."""
        return await self.client.post(path, headers=self.shown(who), data=form)

    async def cost(self, path: str, who: str = "") -> list[str]:
        """The statements of a page, by somebody who is known already; without those that look for changes of access."""
        await self.get(path, who)
        self.statements.clear()
        await self.get(path, who)
        return [text for text in self.statements if text != "BEGIN" and "access_changes" not in text]

    @staticmethod
    def shown(who: str) -> dict[str, str]:
        """The credential of somebody, nothing for nobody."""
        return basic(who, ADMIN_PASSWORD if who == "admin" else PASSWORD) if who else NOBODY


@contextmanager
def recorded(statements: list[str]) -> Iterator[None]:
    """Note every statement of this process."""

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with everything in it."""
    data = tmp_path_factory.mktemp("world") / "data"
    registry = Registry.start(data, "--requests-per-second", "0", "--external-url", ORIGIN, is_open=False)
    try:
        fill(registry)
        registry.stop()
    finally:
        registry.kill()
    return data


@pytest.fixture
async def pages(filled: Path) -> AsyncIterator[Pages]:
    """The pages of it."""
    settings = config.load(
        {"data": filled, "external_url": ORIGIN, "requests_per_second": 0, "background_jobs": False}, {}, None
    )
    stores = await asyncio.to_thread(open_stores, settings, upgrade=True)
    application = Application(settings, stores, ports=[5000, 5001], announce=lambda: None)
    transport = httpx2.ASGITransport(app=application.asgi)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        found = Pages(client)
        with recorded(found.statements):
            yield found
    await application.stop()
