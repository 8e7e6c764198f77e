"""A tiny ASGI application under our server, as a process of its own.

`python -m tests.server.echo LIMITS DRAIN_TIMEOUT_S LOOP [CERT KEY INTERVAL_S]`, the limits in JSON, prints one JSON
line for each event of its lifecycle and of its requests and for each line of its log; the first has the ports. With a
certificate the first port speaks TLS. The second is that of the operators, without limits.
"""

import asyncio
import ipaddress
import json
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any, cast

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from registry.server.listener import Listener
from registry.server.protocol import ConnectionLimits
from registry.server.run import bind, serve
from registry.server.tls import ServerTls


def say(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


async def answer(send: ASGISendCallable, status: int, content: object) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send(cast("Any", {"type": "http.response.start", "status": status, "headers": headers}))
    await send(cast("Any", {"type": "http.response.body", "body": body}))


async def read_body(receive: ASGIReceiveCallable) -> tuple[int, bytes, bool]:
    """The number of bytes, the first 100 of them, and whether they were all."""
    count, start = 0, b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return count, start, False
        count += len(message["body"])
        start = (start + message["body"])[:100]
        if not message["more_body"]:
            return count, start, True


async def echo(scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    count, start, is_whole = await read_body(receive)
    if not is_whole:
        say("cut", path=scope["path"], bytes=count)
        return
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    say("echo", path=scope["path"], bytes=count)
    await answer(
        send,
        200,
        {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "version": scope["http_version"],
            "spec": scope["asgi"]["spec_version"],
            "port": (scope["server"] or ("", 0))[1],
            "scheme": scope["scheme"],
            "headers": headers,
            "bytes": count,
            "body": start.decode("latin-1"),
        },
    )


async def download(scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """1 GiB in pieces, without a length unless asked: ends only when the client has it or is gone."""
    await send(cast("Any", {"type": "http.response.start", "status": 200, "headers": []}))
    sent = 0
    try:
        while sent < 1 << 30:
            await send(cast("Any", {"type": "http.response.body", "body": bytes(1 << 18), "more_body": True}))
            sent += 1 << 18
    except OSError as error:
        say("gone", error=type(error).__name__)
        raise
    await send(cast("Any", {"type": "http.response.body", "body": b""}))


async def hold(scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """An upload that takes a moment to be put aside when it is cancelled."""
    say("holding")
    try:
        await echo(scope, receive, send)
    except asyncio.CancelledError:
        await asyncio.sleep(0.2)
        say("put aside")
        raise


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    assert scope["type"] == "http"
    match scope["path"]:
        case "/early":
            await answer(send, 413, {"error": "too large"})
        case "/pid":
            await answer(send, 200, os.getpid())
        case "/plain":
            await send(cast("Any", {"type": "http.response.start", "status": 200, "headers": []}))
            await send(cast("Any", {"type": "http.response.body", "body": b"he", "more_body": True}))
            await send(cast("Any", {"type": "http.response.body", "body": b"llo"}))
        case "/download":
            await download(scope, receive, send)
        case "/hold":
            await hold(scope, receive, send)
        case "/fail":
            raise ValueError("a fault of the application")
        case "/half":
            head: Any = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]}
            await send(head)
            await send(cast("Any", {"type": "http.response.body", "body": b"half", "more_body": True}))
            raise ValueError("a fault in the middle")
        case _:
            await echo(scope, receive, send)


class LogEvents(logging.Handler):
    """Each line of our log is an event, with some of its facts, and what the libraries complain about."""

    def __init__(self, *facts: str) -> None:
        super().__init__()
        self._facts = facts or ("count", "limit", "client")

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("depotry") and record.levelno < logging.WARNING:
            return
        facts = {name: getattr(record, name) for name in self._facts if hasattr(record, name)}
        say("log", level=record.levelname, name=record.name, text=record.getMessage(), **facts)


class Lifecycle:
    """Says what it is told."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports

    def started(self) -> None:
        say("started", ports=self.ports, files=resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def draining(self) -> None:
        say("draining")

    async def stop(self) -> None:
        say("stopped")


def main() -> None:
    if sys.argv[3] == "asyncio":
        # What a machine without uvloop has.
        sys.modules["uvloop"] = cast("Any", None)
    logging.basicConfig(level=logging.INFO, handlers=[LogEvents()])
    given = json.loads(sys.argv[1])
    given["trusted_proxies"] = tuple(ipaddress.ip_network(text) for text in given.get("trusted_proxies", ()))
    limits = ConnectionLimits(**given)
    tls = None
    if len(sys.argv) > 4:
        tls = ServerTls(Path(sys.argv[4]), Path(sys.argv[5]), check_interval_s=float(sys.argv[6]))
    listeners = [Listener(bind("127.0.0.1", 0), tls), Listener(bind("127.0.0.1", 0), is_limited=False)]
    ports = [listener.socket.getsockname()[1] for listener in listeners]
    serve(app, listeners, lifecycle=Lifecycle(ports), limits=limits, drain_timeout_s=float(sys.argv[2]))
    say("returned")


if __name__ == "__main__":
    main()
