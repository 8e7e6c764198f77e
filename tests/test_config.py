"""Settings: precedence, every problem at once with its source, masking, and a file that loads again."""

import ipaddress
import tomllib
from pathlib import Path

import pytest

from registry.config import ConfigProblems, Settings, describe, load, mask_url, parse_duration, parse_size


def problems(
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    config_file: Path | None = None,
) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        load(flags or {}, environ or {}, config_file)
    return caught.value.problems


def toml(folder: Path, text: str) -> Path:
    path = folder / "depotry.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_serve_loopback_and_keep_everything_in_one_folder() -> None:
    settings = load({}, {}, None)
    assert (settings.host, settings.port, settings.effective_metrics_port) == ("127.0.0.1", 5000, 5001)
    assert settings.database_url == "sqlite:///depotry-data/registry.db"
    assert settings.storage_url == "file:depotry-data/blobs"


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    path = toml(tmp_path, "port = 1001\nmetrics_port = 1002\nlease_s = '2h'\n")
    settings = load({"port": 3001, "host": None}, {"DEPOTRY_PORT": "2001", "DEPOTRY_METRICS_PORT": "2002"}, path)
    assert (settings.port, settings.metrics_port, settings.lease_s) == (3001, 2002, 7200)
    assert settings.host == "127.0.0.1"


def test_the_file_is_also_named_by_the_environment(tmp_path: Path) -> None:
    path = toml(tmp_path, "port = 1001\n")
    assert load({}, {"DEPOTRY_CONFIG": str(path)}, None).port == 1001


def test_every_problem_of_every_source_is_reported_at_once(tmp_path: Path) -> None:
    path = toml(tmp_path, "port = 'x'\nprot = 1\n[table]\nport = 1\n")
    environ = {"DEPOTRY_PORT": "70000", "DEPOTRY_LOG_FORMT": "json", "DEPOTRY_REFERENCES": "maybe"}
    lines = problems({"port": "y", "host": "0.0.0.0"}, environ, path)
    starts = [
        f"{path}: port: ",
        f"{path}: prot is not a setting; did you mean {path}: port?",
        f"{path}: table is",
    ]
    starts += ["DEPOTRY_PORT: ", "DEPOTRY_LOG_FORMT is not a setting; did you mean DEPOTRY_LOG_FORMAT?"]
    starts += ["DEPOTRY_REFERENCES: must be 'strict', 'sparse-index' or 'off'", "--port: ", "--host: 0.0.0.0"]
    for start in starts:
        assert [line for line in lines if line.startswith(start)], start
    assert len(lines) == len(starts)


def test_an_overridden_source_is_checked_too() -> None:
    assert problems({"port": 5000}, {"DEPOTRY_PORT": "nine"})[0].startswith("DEPOTRY_PORT: ")


def test_an_empty_variable_counts_as_unset_and_an_empty_flag_does_not() -> None:
    assert load({}, {"DEPOTRY_PORT": "", "DEPOTRY_CONFIG": ""}, None).port == 5000
    assert problems({"data": ""}) == ["--data: is empty"]


def test_variables_that_kubernetes_sets_are_no_settings() -> None:
    environ = {
        "DEPOTRY_SERVICE_HOST": "10.0.0.1",
        "DEPOTRY_SERVICE_PORT_HTTP": "5000",
        "DEPOTRY_PORT": "tcp://10.0.0.1:5000",
        "DEPOTRY_PORT_5000_TCP_ADDR": "10.0.0.1",
    }
    assert load({}, environ, None) == Settings()


@pytest.mark.parametrize("text", ["port = ", "\xff"])
def test_a_file_that_is_no_toml_is_one_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "depotry.toml"
    path.write_bytes(text.encode("latin-1"))
    assert problems(config_file=path)[0].startswith(f"{path}: is not TOML: ")


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    assert problems(config_file=path) == [f"{path}: cannot be read: No such file or directory"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_consent(host: str) -> None:
    assert load({"host": host}, {}, None).host == host.strip("[]")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "registry.example", "localhost.example"])
def test_any_other_host_needs_consent_that_says_what_it_means(host: str) -> None:
    [line] = problems({"open": True}, {"DEPOTRY_HOST": host})
    assert line.startswith(f"DEPOTRY_HOST: {host} ")
    assert "anyone who can reach this address may read, overwrite and delete everything" in line
    assert "--expose-without-login" in line
    assert load({"open": True, "expose_without_login": True}, {"DEPOTRY_HOST": host}, None).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "registry.example"])
def test_any_other_host_needs_the_address_that_clients_use(host: str) -> None:
    """Clients are told where to log in, and never by what they say themselves."""
    [line] = problems({}, {"DEPOTRY_HOST": host})
    assert line.startswith(f"DEPOTRY_HOST: {host} ") and "--external-url" in line
    assert load({"external_url": "https://hub.example.com"}, {"DEPOTRY_HOST": host}, None).host == host


@pytest.mark.parametrize(
    "url", ["hub.example.com", "https://hub/x", "ftp://hub", "https://a b", 'https://"', "http://"]
)
def test_an_external_url_is_an_origin(url: str) -> None:
    """Scheme, host and port; anything else is refused."""
    [line] = problems({"external_url": url}, {})
    assert line.startswith("--external-url: must be https://")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"port": 65535}, "--port: the metrics port would be 65536"),
        ({"metrics_port": 5000}, "--metrics_port: is the same as port".replace("_", "-")),
    ],
)
def test_the_two_listeners_need_two_ports(flags: dict[str, object], message: str) -> None:
    assert problems(flags)[0].startswith(message)


@pytest.mark.parametrize(("given", "missing"), [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")])
def test_tls_takes_a_certificate_and_its_key(given: str, missing: str) -> None:
    assert problems({}, {f"DEPOTRY_{given.upper()}": "x.pem"}) == [
        f"DEPOTRY_{given.upper()}: needs {missing} too; TLS takes both"
    ]
    settings = load({given: "x.pem", missing: "~/y.pem"}, {}, None)
    assert (getattr(settings, given), getattr(settings, missing)) == (Path("x.pem"), Path("~/y.pem").expanduser())


NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("192.0.2.1/32"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize("text", ["10.0.0.0/8,192.0.2.1,fd00::/8", " 10.0.0.0/8 , 192.0.2.1/32, fd00::/8,"])
def test_trusted_proxies_are_a_list_or_a_text(tmp_path: Path, text: str) -> None:
    assert load({"trusted_proxies": text}, {}, None).trusted_proxies == NETWORKS
    assert load({}, {"DEPOTRY_TRUSTED_PROXIES": text}, None).trusted_proxies == NETWORKS
    assert load({}, {}, toml(tmp_path, f"trusted_proxies = '{text}'")).trusted_proxies == NETWORKS
    path = toml(tmp_path, "trusted_proxies = ['10.0.0.0/8', '192.0.2.1', 'fd00::/8']")
    settings = load({}, {}, path)
    assert settings.trusted_proxies == NETWORKS
    assert load({}, {}, toml(tmp_path, settings.toml())).trusted_proxies == NETWORKS
    assert load({"trusted_proxies": ""}, {}, path).trusted_proxies == ()


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example", "10.0.0.0/8 192.0.2.1"])
def test_what_is_no_network_is_named(text: str) -> None:
    assert problems({"trusted_proxies": f"::1,{text}"}) == [
        f"--trusted-proxies: {text!r} is not a network such as 10.0.0.0/8 or an address"
    ]


@pytest.mark.parametrize("value", ["1", "[1]", "['']", "true"])
def test_toml_that_is_no_list_of_networks(tmp_path: Path, value: str) -> None:
    [line] = problems(config_file=toml(tmp_path, f"trusted_proxies = {value}\n"))
    assert "trusted_proxies: " in line and "network" in line


def test_there_is_room_for_at_least_one_connection() -> None:
    lines = problems({"connections_max": "0", "connections_per_address": "0"})
    assert [line.partition(":")[0] for line in lines] == ["--connections-per-address", "--connections-max"]


def test_any_free_port_goes_for_both_listeners() -> None:
    assert load({"port": 0}, {}, None).effective_metrics_port == 0


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("64MiB", 64 << 20), ("4 MB", 4_000_000), ("1.5 kib", 1536), ("2TiB", 2 << 40), ("7b", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("24h", 86_400), ("0.5", 0.5), ("250 ms", 0.25), ("2d", 172_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "MiB", "-1", "4 parsec", "1e3", "0x10", "4M", "1,5GiB", "٣"])
def test_text_that_is_no_size(text: str) -> None:
    assert problems({"storage_reserve_bytes": text})[0].startswith("--storage-reserve-bytes: ")


def test_a_fraction_of_a_second_is_kept_where_it_makes_sense() -> None:
    assert load({"header_timeout_s": "250ms"}, {}, None).header_timeout_s == 0.25
    assert problems({"lease_s": "100.5"})[0].startswith("--lease-s: must be a valid integer")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///here/x.db", "here/x.db"),
        ("sqlite:////srv/x.db", "/srv/x.db"),
        ("sqlite:///a?b/x", "a?b/x"),
    ],
)
def test_the_database_is_a_file_of_sqlite(text: str, path: str) -> None:
    assert load({"database": text}, {}, None).database_path == Path(path)


@pytest.mark.parametrize(
    "text",
    ["mysql://u:hunter2@h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///x?mode=ro", "registry.db"],
)
def test_any_other_database_is_refused_without_showing_its_password(text: str) -> None:
    [line] = problems({"database": text})
    assert line.startswith("--database: ") and "sqlite:///<path>" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("text", "url", "path"),
    [
        ("blobs", "file:blobs", Path("blobs")),
        ("/srv/blobs", "file:/srv/blobs", Path("/srv/blobs")),
        ("file:blobs", "file:blobs", Path("blobs")),
        ("file:/srv/b", "file:/srv/b", Path("/srv/b")),
        ("file:///srv/b", "file:/srv/b", Path("/srv/b")),
    ],
)
def test_storage(text: str, url: str, path: Path) -> None:
    settings = load({"storage": text}, {}, None)
    assert (settings.storage_url, settings.storage_path) == (url, path)


@pytest.mark.parametrize("text", ["s3://", "s3://b/p#x", "memory:", "file://host/b", "file:", "memory", "a\0b"])
def test_storage_that_does_not_exist(text: str) -> None:
    if text == "memory":  # A plain path: a folder may have this name.
        assert load({"storage": text}, {}, None).storage_path == Path("memory")
        return
    assert problems({"storage": text})[0].startswith("--storage: ")


@pytest.mark.parametrize("folder", ["depotry-data", 'with "quotes" \\ and spaces', "ünïcode-😀", "a?b", "c:d/e"])
def test_what_config_prints_is_toml_that_loads_to_the_same(tmp_path: Path, folder: str) -> None:
    settings = load({"data": folder, "header_timeout_s": 0.5, "verify_on_read": True}, {}, None)
    again = load({}, {}, toml(tmp_path, settings.toml()))
    assert again.masked() == settings.masked() == tomllib.loads(settings.toml())
    assert (again.database_path, again.storage_path) == (settings.database_path, settings.storage_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:pass@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:p@:/ss@host/db", "postgresql://user:***@host/db"),
        ("postgresql://:pass@host/db", "postgresql://:***@host/db"),
        ("sqlite:///a:b", "sqlite:///a:b"),
        (
            "postgresql://u@host/db?password=a%20b&sslmode=disable",
            "postgresql://u@host/db?password=***&sslmode=disable",
        ),
        ("postgresql://host/db?user=u&p%61ssword=x", "postgresql://host/db?user=u&p%61ssword=***"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_settings_are_shown_with_their_source_and_without_passwords(tmp_path: Path) -> None:
    """SEC-046: what an admin sees names the flag, variable or file, and never holds a password."""
    url = "postgresql://depotry:sesame@db.example.com/depotry?sslpassword=sesame"
    path = tmp_path / "depotry.toml"
    path.write_text("workers = 3\n", encoding="utf-8")
    settings = load({"database": url, "port": 5005}, {"DEPOTRY_SIGN_UP": "true"}, path)
    shown = {one.info.name: one for one in settings.shown()}
    assert set(shown) == set(Settings.model_fields)
    assert (shown["port"].value, shown["port"].source) == ("5005", "--port")
    assert (shown["sign_up"].value, shown["sign_up"].source) == ("true", "DEPOTRY_SIGN_UP")
    assert (shown["workers"].value, shown["workers"].source) == ("3", f"{path}: workers")
    assert (shown["host"].value, shown["host"].source) == ("127.0.0.1", None)
    assert shown["secret_file"].value is None
    assert "sesame" not in str(shown)


def test_every_setting_is_described_in_one_sentence() -> None:
    for info in describe():
        assert info.description.endswith("."), info.name
        assert info.env == "DEPOTRY_" + info.name.upper()
        assert info.flag == "--" + info.name.replace("_", "-")


def test_a_default_as_it_is_shown_is_a_value_that_can_be_given() -> None:
    shown = {info.name: info.default for info in describe() if "<" not in info.default}
    assert load(dict(shown), {}, None) == Settings()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"oidc_issuer": "https://id.example.com"}, "--oidc-issuer: needs oidc_client_id too"),
        ({"oidc_client_id": "x"}, "--oidc-client-id: needs oidc_issuer"),
        ({"oidc_only": True}, "--oidc-only: needs oidc_issuer"),
        ({"oidc_sign_up": True}, "--oidc-sign-up: needs oidc_issuer"),
        ({"oidc_issuer": "http://id.example.com", "oidc_client_id": "x"}, "--oidc-issuer: must begin with https://"),
        (
            {"oidc_issuer": "https://i/", "oidc_client_id": "x", "open": True},
            "--oidc-issuer: with open nobody signs in",
        ),
        ({"oidc_scopes": "profile email"}, "--oidc-scopes: must have openid among them"),
        ({"oidc_scopes": 'openid "x"'}, "--oidc-scopes: has something that is no scope"),
        ({"session_ttl_s": "1h", "session_idle_s": "2h"}, "--session-idle-s: is longer than session_ttl_s"),
    ],
)
def test_single_sign_on_that_could_not_work(flags: dict[str, object], message: str) -> None:
    """What is missing, and what would be of no effect, is said at the start."""
    with pytest.raises(ConfigProblems) as caught:
        load(flags, {}, None)
    assert any(problem.startswith(message) for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize("text", ["openid groups", "openid,groups", " openid,  groups "])
def test_scopes_are_words(text: str) -> None:
    """As the specification writes them, or with commas."""
    assert load({"oidc_scopes": text}, {}, None).oidc_scopes == ("openid", "groups")
