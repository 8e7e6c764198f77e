"""One process that serves, or several on one machine: what is prepared before, and what each of them does."""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from registry import logs, welcome
from registry.api import metrics
from registry.app import Application, Stores, make_first_keys_and_admin, open_stores
from registry.config import Settings
from registry.options import fail, opened
from registry.server import run, supervisor
from registry.server.listener import Listener
from registry.server.orders import Post
from registry.server.protocol import ConnectionLimits

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

STOP_RESERVE_S = 10.0
"""For closing stores, beyond what requests get to end."""


def serve_alone(settings: Settings, listeners: list[Listener]) -> None:
    """One process that does everything. Returns when it was told to stop."""
    # A file that is there is opened once: on a full disk there may be no room to open it a second time.
    prepared = None
    if settings.is_on_postgresql or not settings.database_path.exists():
        prepared = _prepare(settings, listeners)
    stores = opened(lambda: open_stores(settings, upgrade=prepared is None))
    text = _welcome(settings, listeners, stores) if prepared is None else prepared
    application = _application(settings, listeners, stores, lambda: click.echo(text))
    _serve(settings, listeners, application)


def serve_together(settings: Settings, listeners: list[Listener]) -> int:
    """`workers` processes on the same listeners; returns the exit status when they were told to stop."""
    text = _prepare(settings, listeners)
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(metrics.shared_folder())
        except OSError as error:
            fail(f"no folder for the metrics of the workers in {error.filename}: {error.strerror}")
        return supervisor.supervise(
            _Crew(settings, listeners, folder, text),
            settings.workers,
            [listener.socket for listener in listeners],
            stop_limit_s=settings.drain_timeout_s + run.GRACE_S + run.CANCEL_S + STOP_RESERVE_S,
        )


@dataclass(frozen=True, slots=True)
class _Crew:
    """What the supervisor has its workers do (`server.supervisor.Crew`)."""

    settings: Settings
    listeners: list[Listener]
    folder: Path
    text: str

    def work(self, post: Post) -> None:
        """Serve, in a new process."""
        settings = self.settings
        logs.set_up(log_format=settings.log_format, level=settings.log_level, worker=post.name)
        metrics.share(self.folder, post.name)
        stores = opened(lambda: open_stores(settings, upgrade=False))
        shared = metrics.Metrics(self.folder)
        application = _application(settings, self.listeners, stores, lambda: None, shared)
        _serve(settings, self.listeners, application, post)

    def started(self) -> None:
        """All accept: say where."""
        click.echo(self.text)
        sys.stdout.flush()
        logging.getLogger("depotry").info("all workers have started", extra={"workers": self.settings.workers})

    def ended(self, name: str) -> None:
        """What the worker was doing is over."""
        metrics.forget_running(self.folder, name)


def _prepare(settings: Settings, listeners: list[Listener]) -> str:
    """Bring the database up to date and make what the first start makes; returns what there is to say.

    In a process of its own, so that none of what this needs (Alembic, the hash of a password) stays in the memory of
    a server that runs for months. Ends this process with the other one's status if it fails.
    """
    try:
        return supervisor.apart(functools.partial(_prepare_here, settings, listeners)).decode()
    except supervisor.ApartFailed as failed:
        if failed.signal is not None:
            click.echo(
                f"depotry: the start was killed by signal {failed.signal}; is there too little memory?", err=True
            )
        sys.exit(failed.status)
    except OSError as error:
        fail(f"no process for the start: {error.strerror}")


def _prepare_here(settings: Settings, listeners: list[Listener]) -> bytes:
    stores = opened(lambda: open_stores(settings, upgrade=True))
    try:
        return _welcome(settings, listeners, stores).encode()
    finally:
        stores.close_now()


def _welcome(settings: Settings, listeners: list[Listener], stores: Stores) -> str:
    first = None if settings.open else opened(lambda: make_first_keys_and_admin(settings, stores))
    return welcome.text(settings, _ports(listeners), first)


def _ports(listeners: list[Listener]) -> list[int]:
    return [listener.socket.getsockname()[1] for listener in listeners]


def _application(
    settings: Settings,
    listeners: list[Listener],
    stores: Stores,
    announce: Callable[[], None],
    shared: metrics.Metrics | None = None,
) -> Application:
    ports = _ports(listeners)
    return opened(lambda: Application(settings, stores, ports=ports, announce=announce, metrics=shared))


def _serve(settings: Settings, listeners: list[Listener], application: Application, post: Post | None = None) -> None:
    run.serve(
        cast("ASGI3Application", application.asgi),
        listeners,
        lifecycle=application,
        limits=ConnectionLimits(
            header_timeout_s=settings.header_timeout_s,
            body_min_bytes_per_s=settings.body_min_bytes_per_s,
            connections_per_address=settings.connections_per_address,
            connections_max=settings.connections_max,
            trusted_proxies=settings.trusted_proxies,
        ),
        drain_timeout_s=settings.drain_timeout_s,
        post=post,
    )
