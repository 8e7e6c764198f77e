"""The audit: of the whole instance, and of what concerns one namespace."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer, LinesAnswer
from registry.api.web.asked import Asked
from registry.api.web.formats import DAY_MS
from registry.api.web.inside import frame_of
from registry.api.web.lists import PAGE_ROWS
from registry.api.web.pages import PAGE_HEADERS
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.digest import Digest
from registry.core.errors import FieldInvalid
from registry.services.audits import Filter, Page, Position, within

PATH = "/admin/audit"
EXPORT_PATH = "/admin/audit.jsonl"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
KINDS = tuple(
    """
    account alias blob identity login manifest member organization password repository robot role second-factor session
    tag team token user
    """.split()  # noqa: SIM905 - twenty words read better as a text
)
"""What actions begin with: what the form offers. Any action can be asked for by its name."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What the form holds."""

    actor: str
    action: str
    repository: str
    address: str
    digest: str
    since: str
    until: str

    @classmethod
    def of(cls, view: View) -> "Narrowed":
        """What the address of the page says. Raises FieldInvalid."""
        asked = Asked.of(view)
        return cls(*(asked.text(name) for name in cls.__slots__))

    @property
    def filter(self) -> Filter:
        """The same as the audit takes it; a day ends with its last moment. Raises FieldInvalid, DigestInvalid."""
        until = _day("until", self.until)
        return Filter(
            actor=self.actor or None,
            action=self.action or None,
            repository=self.repository or None,
            digest=Digest.parse(self.digest) if self.digest else None,
            address=self.address or None,
            since=_day("since", self.since),
            until=None if until is None else until + DAY_MS,
        )

    @property
    def query(self) -> str:
        """For links that keep it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return urlencode({name: value for name, value in fields.items() if value})


async def get_audit(services: WebServices, visit: Visit, view: View) -> Answer:
    """All of it, newest first."""
    narrowed = Narrowed.of(view)
    found = await services.hub.audits.page(narrowed.filter, before=_before(view), count=PAGE_ROWS)
    values = {**_shown(view, narrowed, found), "export": EXPORT_PATH}
    return _answer(services, view, "admin-audit.html", values)


async def get_export(services: WebServices, visit: Visit, view: View) -> LinesAnswer:
    """All that the filters leave, as JSON, a row a line."""
    lines = services.hub.audits.lines(Narrowed.of(view).filter)
    headers = [
        (b"content-type", b"application/jsonl; charset=utf-8"),
        (b"content-disposition", b'attachment; filename="audit.jsonl"'),
        *((name, value) for name, value in PAGE_HEADERS if name != b"content-type"),
    ]
    return LinesAnswer(lines, headers)


async def get_activity(services: WebServices, visit: Visit, view: View) -> Answer:
    """What concerns one namespace."""
    frame, narrowed = frame_of(visit), Narrowed.of(view)
    wanted = within(replace(narrowed.filter, address=None), frame.name)
    found = await services.hub.audits.page(wanted, before=_before(view), count=PAGE_ROWS)
    return _answer(services, view, "namespace-audit.html", {**_shown(view, narrowed, found), "frame": frame})


def _answer(services: WebServices, view: View, template: str, values: dict[str, object]) -> Answer:
    """The page; while somebody types, its rows, and the address that says what was typed."""
    if not view.is_htmx:
        return services.pages.render(view, template, values)
    answer = services.pages.fragment(view, template, "rows", values)
    query = Narrowed.of(view).query
    answer.headers.append((b"hx-replace-url", f"{view.path}?{query}".rstrip("?").encode()))
    return answer


def _shown(view: View, narrowed: Narrowed, found: Page) -> dict[str, object]:
    following = None if found.next_before is None else view.link(after=cursors.write(found.next_before))
    return {
        "narrowed": narrowed,
        "kinds": KINDS,
        "found": found.rows,
        "next": following,
        "is_narrowed": narrowed.query != "",
    }


def _before(view: View) -> Position | None:
    text = Asked.of(view).text("after", max_chars=cursors.CURSOR_MAX_CHARS)
    if not text:
        return None
    at, number = cursors.read(text, tuple[cursors.Number, cursors.Number])
    return at, number


def _day(name: str, text: str) -> int | None:
    """The beginning of a day in UTC, in ms since 1970. Raises FieldInvalid."""
    if not text:
        return None
    try:
        if _DAY.fullmatch(text) is None:
            raise ValueError
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise FieldInvalid(f"{name} is a day such as 2026-01-31", field=name) from None


ROUTES = (
    WebRoute("admin-audit", "GET", PATH, Action.INSTANCE, get_audit),
    WebRoute("admin-audit-export", "GET", EXPORT_PATH, Action.INSTANCE, get_export),
    WebRoute("namespace-activity", "GET", "/u/{namespace}/activity", Action.GOVERN, get_activity),
)
