"""The composition root: from settings to a running application. The one module that knows every room."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from registry import __version__
from registry.api.accounts import LoginApi, LoginServices
from registry.api.asgi import App, HeldBytes
from registry.api.callers import Callers
from registry.api.dispatch import Apps, Dispatch
from registry.api.edge import Edge, RequestLimit
from registry.api.hub.browsers import Browsers, NoSessions
from registry.api.hub.gate import HubGate
from registry.api.hub.routes import HubApi
from registry.api.hub.services import HubServices, Setting
from registry.api.metrics import Metrics
from registry.api.observe import Observed
from registry.api.operate import Readiness, health_app, operator_app
from registry.api.search import SearchApi, SearchServices
from registry.api.v2.gate import Challenges, Gate
from registry.api.v2.routes import DistributionApi
from registry.api.v2.services import Redirects, Services
from registry.api.views.routes import ViewApi
from registry.api.views.services import ViewServices
from registry.api.web.assets import Assets
from registry.api.web.markdown import Markdown
from registry.api.web.pages import FOLDER, Pages, Site
from registry.api.web.routes import WebApp
from registry.api.web.services import Signing, WebServices
from registry.auth import sealing
from registry.auth.challenge import ChallengeKind, Origins
from registry.auth.passwords import Passwords
from registry.auth.tokens import Parties
from registry.blobstore.base import BlobStore
from registry.blobstore.filesystem import FilesystemStore
from registry.blobstore.observed import ObservedStore
from registry.blobstore.several import SeveralStore
from registry.config import Settings, folder_of
from registry.core.access import Visibility
from registry.core.limits import MANIFESTS_HELD_BYTES
from registry.jobs.runner import Runner
from registry.jobs.upkeep import Graces, jobs_of
from registry.metadata import tokens as token_rows
from registry.metadata.database import Database, DatabaseUnusable
from registry.services import first_admin
from registry.services.access import Access
from registry.services.accounts import Accounts
from registry.services.attempts import LoginLimits
from registry.services.audits import Audits
from registry.services.browse import Browse
from registry.services.bulk import Bulk
from registry.services.catalog import Catalog
from registry.services.changes import Changes
from registry.services.clock import Clock, SharedClock
from registry.services.contents import Contents
from registry.services.counting import Counting
from registry.services.entrance import Entrance
from registry.services.first_admin import FirstAdmin
from registry.services.groups import Groups
from registry.services.identities import Identities
from registry.services.installation import Installation, Places, Purpose
from registry.services.keys import Keys
from registry.services.login import Login
from registry.services.organizations import Organizations, OrganizationsBy
from registry.services.personal_tokens import PersonalTokens
from registry.services.pull import Pull
from registry.services.pulls import Ignored, Pulls
from registry.services.push import Push, References
from registry.services.remove import Remove
from registry.services.repositories import Repositories
from registry.services.roles import Roles
from registry.services.second_factor import SecondFactor
from registry.services.sessions import SessionLimits, Sessions
from registry.services.sign_in import SignIn
from registry.services.single_sign_on import SingleSignOn
from registry.services.statistics import Statistics
from registry.services.tagging import Tagging
from registry.services.tickets import Tickets
from registry.services.token_server import TokenServer
from registry.services.traffic import Traffic
from registry.services.transfers import Transfers
from registry.services.uploads import Uploads

if TYPE_CHECKING:
    from registry.auth.oidc import Provider

ADMIN_PASSWORD_FILE = "admin-password"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept: facts and bytes."""

    database: Database
    blobs: BlobStore
    clock: SharedClock
    places: Places = field(default_factory=Places)

    @property
    def installation(self) -> Installation:
        """What looks after database and store, or after both stores."""
        if isinstance(self.blobs, SeveralStore):
            current, previous = self.blobs.current, self.blobs.previous
            return Installation(self.database, current, self.clock, previous, self.places)
        return Installation(self.database, self.blobs, self.clock, places=self.places)

    async def open(self, purpose: Purpose, *, check: bool = False) -> None:
        """Check that they belong together, and with `check` that blobs can really be written. Raises WrongPair,
        DatabaseMoved, DatabaseIncomplete, Unavailable."""
        await self.clock.measure()
        if check:
            # First: where not everything is allowed nothing is claimed, and what is missing is said all at once.
            await self.blobs.check()
        await self.installation.open(purpose)

    async def close(self) -> None:
        """Finish what is queued and close both. Idempotent."""
        await self.blobs.aclose()
        self.database.close()

    def close_now(self) -> None:
        """As `close`, where no loop runs. Blocks."""
        asyncio.run(self.close())


def open_database(settings: Settings) -> Database:
    """The database of these settings; the folder of a file is made if it is missing. Raises LibraryTooOld,
    DatabaseUnusable, OSError."""
    if settings.is_on_postgresql:
        return _open_postgresql(settings)
    from registry.metadata.sqlite import SqliteDatabase

    path = settings.database_path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # It holds hashes of passwords: in a folder that others can read, the file is for its owner only all the same.
    path.touch(mode=0o600, exist_ok=True)
    return SqliteDatabase(path)


def _open_postgresql(settings: Settings) -> Database:
    from registry.metadata.postgresql import PostgresqlDatabase

    password = None
    if settings.database_password_file is not None:
        try:
            password = _text_of(settings.database_password_file, "--database-password-file").rstrip("\r\n")
        except UnicodeDecodeError:
            password = ""
        if not password or "\0" in password:
            raise DatabaseUnusable(
                f"{settings.database_password_file} holds no password (see --database-password-file)"
            )
    return PostgresqlDatabase(
        settings.database_url,
        direct=settings.database_direct,
        password=password,
        connections=settings.database_pool,
    )


def _text_of(path: Path, flag: str) -> str:
    """What is in a file that a setting names. Raises OSError that names the setting too, UnicodeDecodeError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (see {flag})", str(path)) from None


def open_blobs(settings: Settings, database: Database, clock: Clock) -> BlobStore:
    """The blob store of these settings, two of them while blobs move; one in S3 keeps its ledger in the database.
    Raises Unavailable, OSError."""
    current = _store_at(settings.storage_url, settings, database, clock)
    if settings.storage_previous is None:
        return current
    return SeveralStore(current, _store_at(settings.storage_previous, settings, database, clock))


def _store_at(url: str, settings: Settings, database: Database, clock: Clock) -> BlobStore:
    if url.startswith("s3:"):
        return _open_s3(url, settings, database, clock)
    return FilesystemStore(folder_of(url), reserve_bytes=settings.storage_reserve_bytes)


def places_of(settings: Settings) -> Places:
    """What the stores of these settings are called in SQL, the same whoever asks from wherever."""
    previous = settings.storage_previous
    return Places(_name_of(settings.storage_url), None if previous is None else _name_of(previous))


def _name_of(url: str) -> str:
    if url.startswith("s3:"):
        place, _, options = url.partition("?")
        endpoints = parse_qs(options).get("endpoint", [])
        return place.rstrip("/") + "".join(f"?endpoint={endpoint.rstrip('/')}" for endpoint in endpoints)
    return f"file:{folder_of(url).resolve()}"


def _open_s3(url: str, settings: Settings, database: Database, clock: Clock) -> BlobStore:
    from registry.blobstore import s3, s3_client, s3_location, spool

    location = s3_location.parse(url)
    if location.ca_file is not None:
        s3.require_readable(location.ca_file)
    credentials = None
    if settings.s3_access_key_id is not None and settings.s3_secret_access_key_file is not None:
        secret = _text_of(settings.s3_secret_access_key_file, "--s3-secret-access-key-file").strip()
        credentials = s3_client.Credentials(settings.s3_access_key_id, secret)
    direct = None
    if settings.storage_redirect:
        direct = s3_client.Direct(settings.storage_public_endpoint, settings.storage_redirect_ttl_s)
    return s3.S3Store(
        s3_client.S3Client(location, credentials, connections=s3.CONNECTIONS),
        Transfers(database, clock),
        spool.Spool(settings.spool_path, reserve_bytes=settings.storage_reserve_bytes),
        clock,
        direct=direct,
    )


def open_stores(settings: Settings, *, upgrade: bool, purpose: Purpose | None = None) -> Stores:
    """Open both and check that they belong together, with `upgrade` after making the database ready for a server;
    without it the database has to be current, because a server may be running on it. Who upgrades serves, if there is
    no other `purpose`. Blocks; for a start.

    Raises WrongPair, DatabaseMoved, DatabaseIncomplete, DatabaseTooNew, DatabaseNotCurrent, DatabaseUnusable,
    LibraryTooOld, Unavailable.
    """
    database = open_database(settings)
    try:
        if upgrade:
            database.prepare()
        else:
            database.require_current()
        clock = SharedClock(database)
        stores = Stores(database, open_blobs(settings, database, clock), clock, places_of(settings))
    except BaseException:
        database.close()
        raise
    try:
        opened_for = purpose or (Purpose.SERVE if upgrade else Purpose.LOOK)
        asyncio.run(stores.open(opened_for, check=upgrade and settings.is_on_s3))
    except BaseException:
        stores.close_now()
        raise
    return stores


def keys_of(settings: Settings, database: Database, clock: Clock, *, may_make_secret: bool = False) -> Keys:
    """The signing keys. Only who knows that there is none to open yet may make a secret. Raises SecretUnusable,
    OSError."""
    load = sealing.load_or_make if may_make_secret else sealing.load
    return Keys(database, load(settings.secret_path), clock)


def make_first_keys_and_admin(settings: Settings, stores: Stores) -> FirstAdmin | None:
    """At the first start: the signing key and the user `admin`. Blocks. Raises SecretUnusable, PasswordInvalid,
    OSError."""

    async def make() -> FirstAdmin | None:
        is_first = not await stores.database.read(token_rows.have_keys)
        await keys_of(settings, stores.database, stores.clock, may_make_secret=is_first).ensure()
        passwords = Passwords()
        try:
            accounts = Accounts(stores.database, passwords, stores.clock)
            written: Path = settings.data / ADMIN_PASSWORD_FILE
            return await first_admin.ensure(accounts, settings.admin_password_file, written)
        finally:
            passwords.close()

    return asyncio.run(make())


def provider_of(settings: Settings, clock: Clock) -> "Provider | None":
    """The identity provider of these settings, which is not asked yet. Raises OSError for the file of its secret."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    from registry.auth.oidc import Client, Provider

    secret = None
    if settings.oidc_client_secret_file is not None:
        secret = _text_of(settings.oidc_client_secret_file, "--oidc-client-secret-file").strip()
        if not secret or not secret.isascii() or not secret.isprintable():
            path = settings.oidc_client_secret_file
            raise sealing.SecretUnusable(f"{path} holds no client secret (see --oidc-client-secret-file)")
    client = Client(
        settings.oidc_issuer,
        settings.oidc_client_id,
        secret,
        settings.oidc_scopes,
        settings.oidc_name_claim,
        settings.oidc_groups_claim,
    )
    return Provider(client, lambda: clock() / 1000)


def host_of(url: str | None) -> str:
    """What people see of an identity provider's address; empty without one."""
    return "" if url is None else urlsplit(url).netloc


def graces_of(settings: Settings) -> Graces:
    """How long background work leaves things alone, by these settings."""
    return Graces(
        lease_ms=settings.lease_s * 1000,
        upload_ttl_ms=settings.upload_ttl_s * 1000,
        removal_grace_ms=settings.removal_grace_s * 1000,
        collect_interval_ms=settings.collect_interval_s * 1000,
        login_window_ms=settings.login_window_s * 1000,
        session_idle_ms=settings.session_idle_s * 1000,
    )


class Application:
    """The server's application, and what the server tells it (`server.run.Lifecycle`)."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        *,
        ports: list[int],
        announce: Callable[[], None],
        metrics: Metrics | None = None,
    ) -> None:
        """`ports`: those of the main listener and of the operators'. `metrics`: those that several processes share.
        Raises SecretUnusable, OSError."""
        metrics = metrics or Metrics()
        blobs = ObservedStore(stores.blobs, metrics.record_store)
        self._stores = stores
        self._announce = announce
        self._data = settings.data.absolute()
        self._log = logging.getLogger("depotry")
        self._readiness = Readiness(
            {"database": stores.database.check, "storage": blobs.check, "clock": stores.clock.check}
        )
        self._house = House(settings, stores, blobs, port=ports[0], metrics=metrics)
        self._runner = Runner(stores.database, jobs_of(blobs, graces_of(settings)), stores.clock, observer=metrics.jobs)
        self._works = settings.background_jobs
        self._running: list[asyncio.Task[None]] = []
        self._observed = Observed(
            Dispatch(self._apps(metrics), operator_port=ports[1]),
            metrics,
            Edge(settings.trusted_proxies, is_https=settings.origins(ports[0])[0].startswith("https:")),
            self._house.counting.traffic,
        )

    def _apps(self, metrics: Metrics) -> Apps:
        house = self._house
        hub = house.hub_services(self._readiness)
        return Apps(
            distribution=DistributionApi(house.services()),
            hub=HubApi(hub),
            login=None if house.settings.open else LoginApi(house.login_services()),
            pages=WebApp(house.web_services(hub)),
            search=SearchApi(house.search_services()),
            views=ViewApi(house.view_services(hub)),
            health=health_app(self._readiness),
            operator=operator_app(self._readiness, metrics),
        )

    @property
    def asgi(self) -> App:
        """What the server calls for each request."""
        return self._observed

    def started(self) -> None:
        """The listeners accept."""
        loop = asyncio.get_running_loop()
        work = [self._house.changes.follow(), self._stores.clock.follow()]
        if self._works:
            work.append(self._runner.run())
        self._running = [loop.create_task(one) for one in work]
        self._house.counting.start()
        self._announce()
        self._log.info("started", extra={"version": __version__, "data": str(self._data)})

    def draining(self) -> None:
        """The server was told to stop: no new work should be sent here."""
        self._readiness.draining = True
        self._runner.ask_to_stop()
        self._log.info("stopping: running requests may end")

    async def stop(self) -> None:
        """The last request has ended."""
        await self._runner.stop()
        await self._house.counting.stop()
        for task in self._running:
            task.cancel()
        self._house.close()
        await self._stores.close()
        self._log.info("stopped")


class House:
    """The use cases on these stores, wired together once."""

    def __init__(self, settings: Settings, stores: Stores, blobs: BlobStore, *, port: int, metrics: Metrics) -> None:
        """`blobs` is the store of `stores`, observed."""
        database = stores.database
        self.settings = settings
        self._database = database
        self._clock = stores.clock
        self._blobs = blobs
        urls = settings.origins(port)
        self._origins = Origins(urls)
        self._limit = RequestLimit(settings.requests_per_second)
        self.changes = Changes(database)
        self.passwords = Passwords()
        # Where access is open nothing is signed, and no secret is needed.
        secret = sealing.InstanceSecret(b"") if settings.open else sealing.load(settings.secret_path)
        self._keys = Keys(database, secret, self._clock)
        self.changes.on_change.append(self._keys.forget)
        self._parties = Parties(self._origins.issuer, tuple(self._origins.services))
        self._access = Access(
            database,
            self.changes,
            default_visibility=Visibility(settings.default_visibility),
            is_open=settings.open,
        )
        limits = LoginLimits(
            settings.login_failures_per_account, settings.login_failures_per_address, settings.login_window_s * 1000
        )
        self._login = Login(
            database,
            self.changes,
            self.passwords,
            self._clock,
            limits,
            only_admins_have_passwords=settings.oidc_only,
        )
        self._provider = provider_of(settings, self._clock)
        self.entrance = self._open_entrance(secret)
        tickets = Tickets(self.changes, self._keys, self._parties, self._clock)
        self._callers = Callers(self._login, tickets, self._limit, is_open=settings.open)
        ignored = Ignored(settings.pulls_ignore_users, settings.pulls_ignore_agents)
        self.counting = Counting(
            database,
            Pulls(self._clock, ignored),
            Traffic(self._clock),
            every_s=settings.pulls_flush_s,
            observer=metrics.counting,
        )

    def close(self) -> None:
        """End its threads. Idempotent."""
        self.passwords.close()
        if self._provider is not None:
            self._provider.close()

    def _open_entrance(self, secret: sealing.InstanceSecret) -> Entrance:
        settings, database, clock = self.settings, self._database, self._clock
        session_limits = SessionLimits(settings.session_idle_s * 1000, settings.session_ttl_s * 1000)
        sessions = Sessions(database, self.changes, self._login.attempts, clock, session_limits)
        second_factor = SecondFactor(database, secret, self._login.attempts, sessions, clock)
        groups = Groups(database, clock, settings.oidc_admin_group)
        single_sign_on = None
        if self._provider is not None:
            single_sign_on = SingleSignOn(
                database,
                self._provider,
                secret,
                clock,
                sessions=sessions,
                groups=groups,
                attempts=self._login.attempts,
                signs_up=settings.oidc_sign_up,
            )
        return Entrance(
            SignIn(self._login, sessions, second_factor),
            sessions,
            second_factor,
            Identities(database, clock),
            groups,
            single_sign_on,
            settings.oidc_only,
        )

    def services(self) -> Services:
        """What the distribution API calls."""
        settings, database, blobs, clock = self.settings, self._database, self._blobs, self._clock
        lease_ms = settings.lease_s * 1000
        return Services(
            pull=Pull(database, blobs, clock, lease_ms),
            push=Push(database, blobs, clock, References(settings.references)),
            uploads=Uploads(
                database,
                blobs,
                clock,
                lease_ms,
                ttl_ms=settings.upload_ttl_s * 1000,
                open_per_account=settings.uploads_per_account,
            ),
            remove=Remove(database, clock, lease_ms),
            catalog=Catalog(database, is_open=settings.open),
            counting=self.counting,
            manifest_max_bytes=settings.manifest_max_bytes,
            verify_on_read=settings.verify_on_read,
            held=HeldBytes(MANIFESTS_HELD_BYTES),
            gate=Gate(self._callers, self._login, self._access),
            challenges=Challenges(self._origins, ChallengeKind(settings.auth_challenge)),
            redirects=Redirects(settings.storage_redirect_except) if settings.storage_redirect else None,
        )

    def search_services(self) -> SearchServices:
        """What `docker search` calls."""
        return SearchServices(
            Browse(self._database, is_open=self.settings.open),
            Gate(self._callers, self._login, self._access),
            Challenges(self._origins, ChallengeKind(self.settings.auth_challenge)),
            answers_everybody=self.settings.search_anonymous,
        )

    def view_services(self, hub: HubServices) -> ViewServices:
        """What the views of other products call; `hub` is what the API calls."""
        return ViewServices(hub.gate, hub.browse, hub.contents, self._origins)

    def hub_services(self, readiness: Readiness) -> HubServices:
        """What the hub's API calls."""
        browsers = Browsers(self._origins, NoSessions() if self.settings.open else self.entrance.sessions)
        gate = HubGate(self._callers, browsers, self._login, self._access)
        return HubServices(
            gate=gate,
            browse=Browse(self._database, is_open=self.settings.open),
            contents=Contents(self._database, self._blobs),
            tagging=Tagging(self._database, self._clock),
            remove=Remove(self._database, self._clock, self.settings.lease_s * 1000),
            statistics=Statistics(self._database, self._clock),
            login=self._login,
            accounts=Accounts(self._database, self.passwords, self._clock),
            organizations=Organizations(self._database, self._clock, OrganizationsBy(self.settings.organizations_by)),
            repositories=Repositories(self._database, self._clock, self.settings.lease_s * 1000),
            roles=Roles(self._database, self._clock),
            tokens=PersonalTokens(self._database, self._clock),
            bulk=Bulk(self._database, self._clock),
            audits=Audits(self._database),
            groups=None if self.settings.open else self.entrance.groups,
            readiness=readiness,
            settings=[
                Setting(
                    name=one.info.name,
                    value=one.value,
                    default=one.info.default,
                    source=one.source,
                    environment=one.info.env,
                    description=one.info.description,
                )
                for one in self.settings.shown()
            ],
        )

    def web_services(self, hub: HubServices) -> WebServices:
        """What the pages call; `hub` is what the API calls."""
        assets = Assets(FOLDER / "static")
        site = Site(
            __version__,
            host=self._origins.service(None),
            url=self._origins.issuer,
            sign_up_is_open=self.settings.sign_up and not self.settings.open,
            is_open=self.settings.open,
        )
        is_https = self._origins.issuer.startswith("https:")
        doors = None
        if not self.settings.open:
            doors = Signing(
                self.entrance,
                self._login,
                provider=host_of(self.settings.oidc_issuer),
                sign_up_is_open=site.sign_up_is_open,
            )
        return WebServices(
            hub, Pages(assets, site), assets, Markdown(), self._clock, self._origins, is_https, doors=doors
        )

    def login_services(self) -> LoginServices:
        """What the token server's endpoints call."""
        settings = self.settings
        tokens = TokenServer(
            self._database,
            self._access,
            self._keys,
            self._clock,
            self._parties,
            token_ttl_s=settings.token_ttl_s,
            refresh_ttl_s=settings.refresh_token_ttl_s,
        )
        return LoginServices(
            login=self._login,
            tokens=tokens,
            keys=self._keys,
            accounts=Accounts(self._database, self.passwords, self._clock),
            origins=self._origins,
            limit=self._limit,
            sign_up_is_open=settings.sign_up,
        )
