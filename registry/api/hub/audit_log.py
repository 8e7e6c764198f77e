"""The audit: who did what. For admins all of it; for others what concerns their namespace, or themselves."""

from datetime import datetime
from typing import Annotated

import msgspec

from registry.api.hub import answers, cursors, lists, times
from registry.api.hub.gate import Visit
from registry.api.hub.lists import After
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.tags import DigestText
from registry.api.responses import Answer, LinesAnswer
from registry.core.access import Action
from registry.core.digest import Digest
from registry.core.limits import LIST_PAGE_MAX
from registry.services.audits import Filter, Row

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_UTC = "in UTC where no offset is given"


class ExportQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which rows."""

    actor: Annotated[_Text | None, msgspec.Meta(description="Who did it: the name of an account.")] = None
    action: Annotated[
        _Text | None, msgspec.Meta(description="What: `manifest.pushed`, or `tag.*` for all of a kind.")
    ] = None
    repository: Annotated[_Text | None, msgspec.Meta(description="To which repository.")] = None
    digest: Annotated[DigestText | None, msgspec.Meta(description="To which content.")] = None
    address: Annotated[_Text | None, msgspec.Meta(description="From where.")] = None
    since: Annotated[datetime | None, msgspec.Meta(description=f"From then on, {_UTC}.")] = None
    until: Annotated[datetime | None, msgspec.Meta(description=f"Before, {_UTC}.")] = None


class AuditQuery(ExportQuery, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A page of the rows."""

    limit: lists.Limit = 50
    after: After = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done."""

    id: int
    at: datetime
    actor: str
    """Who did it; empty for who had not logged in."""
    credential: str
    """How that was shown: `password`, `personal token 12`, `session 3`, `command line`."""
    address: str | None
    """From where. For the owners of a namespace only of what they and their robots did."""
    action: str
    repository: str | None
    digest: str | None
    target: str | None
    """What it was done to, where that is no repository or digest."""


class Actions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was ever done."""

    items: list[str]


async def list_audit(services: HubServices, visit: Visit) -> Answer:
    """All rows of the audit, newest first.

    A page of several filters looks at so many rows and no more: it may have less than was asked for, or nothing, and
    yet a next one."""
    return await _page(services, visit, None)


async def export_audit(services: HubServices, visit: Visit) -> LinesAnswer:
    """All rows of the audit, newest first, each as one line of JSON, as many as there are."""
    return LinesAnswer(services.audits.lines(_filter(visit, None)))


async def list_actions(services: HubServices, visit: Visit) -> Answer:
    """The actions that the audit has rows of."""
    return answers.one(Actions(items=await services.audits.actions()))


async def list_namespace_audit(services: HubServices, visit: Visit) -> Answer:
    """What was done in a namespace, and by its robots, newest first. As with all of it, a page may have little, and yet
    a next one."""
    return await _page(services, visit, visit.namespace.name)


async def list_account_audit(services: HubServices, visit: Visit) -> Answer:
    """What one's own account and robots did, and what was done in its namespace, newest first."""
    return await _page(services, visit, visit.caller.principal.name)


async def _page(services: HubServices, visit: Visit, within: str | None) -> Answer:
    after = visit.query.after
    before = None if after is None else cursors.read(after, tuple[cursors.Number, cursors.Number])
    count = min(visit.query.limit, LIST_PAGE_MAX)
    found = await services.audits.page(_filter(visit, within), before=before, count=count)
    return answers.page(visit.request, list(map(_row, found.rows)), found.next_before)


def _filter(visit: Visit, within: str | None) -> Filter:
    query: ExportQuery = visit.query
    return Filter(
        actor=query.actor,
        action=query.action,
        repository=query.repository,
        digest=None if query.digest is None else Digest.parse(query.digest),
        address=query.address,
        since=_ms(query.since),
        until=_ms(query.until),
        within=within,
    )


def _ms(at: datetime | None) -> int | None:
    return None if at is None else times.ms(at)


def _row(found: Row) -> AuditRow:
    return AuditRow(
        id=found.id,
        at=times.moment(found.at),
        actor=found.actor,
        credential=found.credential,
        address=found.address,
        action=found.action,
        repository=found.repository,
        digest=found.digest,
        target=found.target,
    )


_ALL = "/instance/audit"
_PAGE = answers.Page[AuditRow]
ROUTES = (
    HubRoute("listAudit", "GET", _ALL, Action.INSTANCE, list_audit, answer=_PAGE, query=AuditQuery),
    HubRoute(
        "exportAudit",
        "GET",
        f"{_ALL}/export",
        Action.INSTANCE,
        export_audit,
        answer=AuditRow,
        query=ExportQuery,
        is_lines=True,
    ),
    HubRoute("listActions", "GET", f"{_ALL}/actions", Action.INSTANCE, list_actions, answer=Actions),
    HubRoute(
        "listNamespaceAudit",
        "GET",
        "/namespaces/{namespace}/audit",
        Action.GOVERN,
        list_namespace_audit,
        answer=_PAGE,
        query=AuditQuery,
    ),
    HubRoute(
        "listAccountAudit",
        "GET",
        "/account/audit",
        Action.ACCOUNT,
        list_account_audit,
        answer=_PAGE,
        query=AuditQuery,
    ),
)
