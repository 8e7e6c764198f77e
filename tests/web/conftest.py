"""A filled registry: its data once, and an application on it in this process, where statements can be counted."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
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

    async def post(self, path: str, who: str, form: Mapping[str, object]) -> httpx2.Response:
        """Send a form."""
        return await self.client.post(path, headers=self.shown(who), data=dict(form))

    async def done(self, path: str, who: str, **form: object) -> str:
        """Send a form that leads on; the page where it leads to."""
        answer = await self.post(path, who, form)
        assert answer.status_code == 303, f"{path}: {answer.status_code}: {answer.text[:2000]}"
        target = answer.headers["location"]
        assert not target.startswith("/sign-in"), "access was refused"
        cookies = {"cookie": answer.headers["set-cookie"].partition(";")[0]} if "set-cookie" in answer.headers else {}
        seen = await self.client.get(target, headers=self.shown(who) | cookies)
        assert seen.status_code == 200, f"{target}: {seen.status_code}"
        return seen.text

    async def refused(self, path: str, who: str, status: int, **form: object) -> str:
        """Send a form that is not accepted; the page that says so."""
        answer = await self.post(path, who, form)
        assert answer.status_code == status, f"{path}: {answer.status_code}: {answer.text[:2000]}"
        return answer.text

    async def settle(self) -> None:
        """Know of every change of access, as a server does after a second at most."""
        await self.client.post("/preferences", data={"theme": "auto"})

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


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[Pages]:
    """The pages of a data folder."""
    settings = config.load(
        {"data": data, "external_url": ORIGIN, "requests_per_second": 0, "background_jobs": False}, {}, None
    )
    stores = await asyncio.to_thread(open_stores, settings, upgrade=True)
    application = Application(settings, stores, ports=[5000, 5001], announce=lambda: None)
    transport = httpx2.ASGITransport(app=application.asgi)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        found = Pages(client)
        with recorded(found.statements):
            yield found
    await application.stop()


@pytest.fixture
async def pages(filled: Path) -> AsyncIterator[Pages]:
    """For looking: nothing changes what others see."""
    async with served(filled) as found:
        yield found


@pytest.fixture
async def desk(filled: Path, tmp_path: Path) -> AsyncIterator[Pages]:
    """For changing things: a copy."""
    shutil.copytree(filled, tmp_path / "data")
    async with served(tmp_path / "data") as found:
        yield found
