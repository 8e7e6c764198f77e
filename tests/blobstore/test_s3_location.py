"""URLs of S3 stores: what they mean, and that everything wrong with one is said at once."""

from pathlib import Path

import pytest

from registry.blobstore.s3_location import S3Location, endpoint_problem, parse
from registry.config import ConfigProblems, load


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket", S3Location("bucket")),
        ("s3://bucket/", S3Location("bucket")),
        ("s3://bucket/some/prefix/", S3Location("bucket", "some/prefix/")),
        ("s3://bucket/p?endpoint=http://minio:9000", S3Location("bucket", "p/", "http://minio:9000")),
        (
            "s3://b.2-c/p?region=eu-central-1&addressing=virtual&storage_class=STANDARD_IA&sse=aws:kms&sse_kms_key_id=k",
            S3Location("b.2-c", "p/", None, "eu-central-1", "virtual", "STANDARD_IA", "aws:kms", "k"),
        ),
        (
            "s3://bucket?endpoint=https://[::1]:9000&ca_file=/etc/ca.pem",
            S3Location("bucket", "", "https://[::1]:9000", ca_file=Path("/etc/ca.pem")),
        ),
    ],
)
def test_what_a_url_means(url: str, location: S3Location) -> None:
    assert parse(url) == location
    assert load({"storage": url}, {}, None).storage_url == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://", ["must be s3://<bucket>"]),
        ("s3://ab", ["must be s3://<bucket>"]),
        ("s3://Bucket", ["must be s3://<bucket>"]),
        ("s3://user:secret@bucket", ["must be s3://<bucket>"]),
        ("s3://bucket/a//b", ["the prefix"]),
        ("s3://bucket/a/../b", ["the prefix"]),
        ("s3://bucket/a%0ab", ["the prefix"]),
        ("s3://bucket/" + "a" * 513, ["the prefix"]),
        ("s3://bucket#x", ["has a '#'"]),
        ("s3://bucket?endpont=http://x", ["'endpont' is not an option"]),
        ("s3://bucket?region=a&region=b", ["region is given twice"]),
        ("s3://bucket?region=", ["region is empty"]),
        ("s3://bucket?endpoint=minio:9000", ["endpoint must be https://"]),
        ("s3://bucket?endpoint=http://key:secret@minio", ["endpoint must be https://"]),
        ("s3://bucket?endpoint=http://minio/path", ["must end after the host"]),
        ("s3://bucket?sse=yes", ["sse must be"]),
        ("s3://bucket?sse_kms_key_id=k", ["needs sse=aws:kms"]),
        ("s3://bucket?endpoint=http://minio&ca_file=/x", ["ca_file needs an endpoint with https"]),
        (
            "s3://B?addressing=any&storage_class=cheap&region=A",
            ["s3://<bucket>", "addressing", "storage_class", "region"],
        ),
    ],
)
def test_everything_that_is_wrong_is_said(url: str, told: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        parse(url)
    for text in told:
        assert text in str(caught.value)
    with pytest.raises(ConfigProblems) as refused:
        load({"storage": url}, {}, None)
    assert len(refused.value.problems) == 1 and refused.value.problems[0].startswith("--storage: ")
    assert "secret" not in refused.value.problems[0]


def test_a_bucket_is_in_the_path_where_there_is_an_endpoint() -> None:
    assert parse("s3://bucket").addressing_style == "virtual"
    assert parse("s3://bucket?endpoint=http://minio").addressing_style == "path"
    assert parse("s3://bucket?endpoint=http://minio&addressing=virtual").addressing_style == "virtual"


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    redirecting = {"storage": "s3://bucket", "storage_redirect": True}
    for flags, told in (
        ({"s3_access_key_id": "key"}, "--s3-access-key-id: needs s3_secret_access_key_file too"),
        ({"s3_secret_access_key_file": tmp_path}, "--s3-secret-access-key-file: needs s3_access_key_id too"),
        ({"storage_redirect": True}, "--storage-redirect: needs storage in S3"),
        ({"storage_redirect_except": "10.0.0.0/8"}, "--storage-redirect-except: needs storage in S3"),
        ({"storage_public_endpoint": "https://s3.example.com"}, "--storage-public-endpoint: needs storage in S3"),
        ({"spool": tmp_path}, "--spool: needs storage in S3"),
        ({**redirecting, "removal_grace_s": 599}, "--removal-grace-s: removal_grace_s has to be at least storage_re"),
        ({**redirecting, "storage_redirect_ttl_s": "2d"}, "--storage-redirect-ttl-s: removal_grace_s has to be at"),
        ({"storage_public_endpoint": "s3.example.com"}, "--storage-public-endpoint: must be https://<host>"),
    ):
        with pytest.raises(ConfigProblems) as caught:
            load(flags, {}, None)
        assert [problem[: len(told)] for problem in caught.value.problems] == [told]


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"storage_redirect": False, "storage_redirect_except": "", "removal_grace_s": 0},
        {"storage": "s3://bucket", "removal_grace_s": 0},
        {"storage": "s3://bucket", "storage_redirect": True},
        {"storage": "s3://bucket", "storage_redirect": True, "removal_grace_s": 600, "spool": "spool"},
        {"storage_previous": "s3://bucket", "storage_redirect": True, "spool": "spool"},
    ],
)
def test_settings_that_go_together(flags: dict[str, object]) -> None:
    """Defaults say nothing, nor do settings of S3 while blobs move from there."""
    load(flags, {}, None)


def test_an_endpoint_that_is_none() -> None:
    assert endpoint_problem("https://s3.example.com:9000/") is None
    assert endpoint_problem("https://s3.example.com?x") is not None
