"""The commands for access: tokens, keys, and the audit. As those in `account_cli`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from registry.config import parse_duration
from registry.desk import Desk, as_json_option, at_desk, print_rows, shown_time
from registry.options import fail, opened, store_options

_LIFE_MAX_S = 36_500 * 86_400


# Tokens


@click.group()
def token() -> None:
    """Personal access tokens: used as the password of their account, within limits."""


@token.command("create")
@click.argument("account")
@click.option("--name", default="token", show_default=True, help="What it is for.")
@click.option("--scope", "scope", default="read,write", show_default=True, help="Of read, write, delete, admin.")
@click.option("--repository", "names", multiple=True, help="Only for this one, or name/* for all below; repeatable.")
@click.option("--expires", metavar="TIME", help="When it ends, such as 90d or 12h from now; without it never.")
@store_options
def token_create(
    account: str, name: str, scope: str, names: tuple[str, ...], expires: str | None, **flags: Any
) -> None:
    """Make a token for an account and print it, this once."""
    from registry.core.access import TokenLimits, TokenScope

    try:
        scopes = frozenset(TokenScope(word.strip()) for word in scope.split(","))
    except ValueError:
        fail("--scope is a list of read, write, delete and admin, separated by commas")
    limits = TokenLimits(scopes, names or None)
    life_s = _life_s(expires)
    _, secret = at_desk(flags, lambda desk: desk.tokens.create(account, name, limits, desk.actor, life_s=life_s))
    click.echo(secret)


def _life_s(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        life_s = parse_duration(text)
    except ValueError as error:
        fail(f"--expires {error}")
    if not isinstance(life_s, int) or not 1 <= life_s <= _LIFE_MAX_S:
        fail("--expires is from 1s to 36500d")
    return life_s


@token.command("list")
@click.argument("account")
@as_json_option
@store_options
def token_list(account: str, as_json: bool, **flags: Any) -> None:
    """Print the tokens of an account, and the logins that clients remember."""
    found = at_desk(flags, lambda desk: desk.tokens.of(account))
    rows = (
        {
            "id": one.id,
            "kind": one.kind,
            "name": one.name,
            "scope": None if one.limits is None else ",".join(sorted(one.limits.scopes)),
            "repositories": None
            if one.limits is None or one.limits.repositories is None
            else ",".join(one.limits.repositories),
            "created": shown_time(one.created_at),
            "expires": shown_time(one.expires_at),
            "last_used": shown_time(one.last_used_at),
            "from": one.last_used_from,
        }
        for one in found
    )
    print_rows(rows, as_json=as_json)


@token.command("revoke")
@click.argument("token_id", type=int)
@store_options
def token_revoke(token_id: int, **flags: Any) -> None:
    """End a token, and the logins that were begun with it."""
    at_desk(flags, lambda desk: desk.tokens.revoke(token_id, desk.actor))
    click.echo(f"token {token_id} is revoked")


# Keys and the audit


@click.group()
def key() -> None:
    """The keys that sign access tokens."""


@key.command("rotate")
@click.option("--at-once", is_flag=True, help="End the old key, and every access token that it signed, now.")
@store_options
def key_rotate(at_once: bool, **flags: Any) -> None:
    """Sign with a new key. The old one counts until the last token that it signed has ended."""
    from registry.app import keys_of

    async def work(desk: Desk) -> str:
        keys = keys_of(desk.settings, desk.stores.database, desk.stores.clock, may_make_secret=at_once)
        return await keys.rotate(desk.actor, at_once=at_once)

    click.echo(f"the new key is {at_desk(flags, work)}")


@click.command()
@click.option("--actor", help="Who did it: the name of an account.")
@click.option("--action", help="What: manifest.pushed, or tag.* for all of a kind.")
@click.option("--repository", help="To which repository.")
@click.option("--digest", help="To which content.")
@click.option("--address", help="From where.")
@click.option("--since", metavar="TIME", help="From: 2026-11-24, 2026-11-24T08:00, or 2h ago as 2h.")
@click.option("--until", metavar="TIME", help="Until, in the same forms.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000), help="How many rows.")
@click.option("--within", help="Only what concerns this account: its namespace, itself and its robots.")
@click.option("--export", "as_lines", is_flag=True, help="Print all rows, each as one line of JSON.")
@as_json_option
@store_options
def audit(limit: int, as_json: bool, as_lines: bool, since: str | None, until: str | None, **flags: Any) -> None:
    """Print who did what, newest first. Times are UTC."""
    from registry.core.digest import Digest
    from registry.metadata import audit as rows
    from registry.services.audits import Audits

    names = ("actor", "action", "repository", "address", "within")
    texts = {name: flags.pop(name) for name in names}
    digest_text = flags.pop("digest")
    digest = None if digest_text is None else opened(lambda: Digest.parse(digest_text))
    wanted = rows.Filter(**texts, digest=digest, since=_moment(since), until=_moment(until))

    async def export(desk: Desk) -> None:
        async for piece in Audits(desk.stores.database).lines(wanted):
            click.echo(piece, nl=False)

    async def work(desk: Desk) -> list[rows.Row]:
        found: list[rows.Row] = []
        async for row in Audits(desk.stores.database).rows(wanted):
            found.append(row)
            if len(found) == limit:
                break
        return found

    if as_lines:
        at_desk(flags, export)
        return
    found = at_desk(flags, work)
    print_rows(({**asdict(row), "at": shown_time(row.at)} for row in found), as_json=as_json)


def _moment(text: str | None) -> int | None:
    """ms since 1970 UTC of a date, a date and time, or a time ago."""
    from registry.services.clock import system_clock

    if text is None:
        return None
    try:
        ago_s = parse_duration(text)
        if isinstance(ago_s, int | float):
            return system_clock() - int(ago_s * 1000)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no time: write 2026-11-24, 2026-11-24T08:00, or 2h for two hours ago")
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp() * 1000)
