"""What `serve` prints when it is ready."""

from registry import __version__
from registry.config import Settings, is_loopback, mask_url
from registry.services.first_admin import NAME, FirstAdmin


def text(settings: Settings, ports: list[int], first: FirstAdmin | None) -> str:
    """Where it is, and what to try next; at the first start also the password of the admin, once."""
    registry = settings.origins(ports[0])[0].partition("//")[2]
    scheme = "https" if settings.tls_cert_file else "http"
    return f"""\
Depotry {__version__}, an OCI registry, is at {scheme}://{_authority(settings.host, ports[0])}
  database  {_database(settings)}
  blobs     {_blobs(settings)}
  pages     {settings.origins(ports[0])[0]}/
  health    http://{_authority(settings.metrics_host, ports[1])}/readyz and /metrics
{_warnings(settings)}{_admin(first)}
Try it, in another terminal:
{_login(settings, registry)}  docker tag alpine {registry}/alpine
  docker push {registry}/alpine
  docker pull {registry}/alpine

Ctrl-C stops it.
"""


def _database(settings: Settings) -> str:
    return mask_url(settings.database_url) if settings.is_on_postgresql else str(settings.database_path.absolute())


def _blobs(settings: Settings) -> str:
    return mask_url(settings.storage_url) if settings.is_on_s3 else str(settings.storage_path.absolute())


def _login(settings: Settings, registry: str) -> str:
    return "" if settings.open else f"  docker login -u {NAME} {registry}\n"


def _admin(first: FirstAdmin | None) -> str:
    if first is None:
        return ""
    if first.password is None:
        return f"\n  user      {NAME}, with the password in {first.file}\n"
    return f"""
  user      {NAME}
  password  {first.password}
            It is shown this once, and is in {first.file.absolute()} until you delete that file.
"""


def _warnings(settings: Settings) -> str:
    if settings.open:
        who = "Anyone who can reach this address" if not is_loopback(settings.host) else "Everybody on this machine"
        return f"\n  Open: {who} may read, overwrite and delete everything.\n"
    urls = settings.external_url
    plain = [url for url in urls if url.startswith("http:") and not _is_local(url)]
    return f"\n  Passwords travel unencrypted to {', '.join(plain)}: use https.\n" if plain else ""


def _is_local(url: str) -> bool:
    host = url.partition("//")[2]
    return is_loopback(host.rpartition(":")[0].strip("[]") if ":" in host.rpartition("]")[2] else host.strip("[]"))


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
