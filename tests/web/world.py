"""A registry with what a small company keeps in one: images for several platforms, with signatures and SBOMs, charts,
other artifacts, READMEs, people and pulls. Everything is pushed and pulled as clients do it."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2
from click.testing import CliRunner

from registry.cli import main
from tests.clients.images import EMPTY, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, digest_of, tar_of
from tests.reliability.client import expect
from tests.running import ADMIN_PASSWORD, Registry, wait_until

PASSWORD = "battery staple horse"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN = "application/vnd.dev.cosign.artifact.sig.v1+json"
SPDX = "application/spdx+json"
PLATFORMS = (("linux", "amd64", ""), ("linux", "arm64", "v8"), ("linux", "arm", "v7"))
INSTALL = (
    "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates curl"
    " && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 --home-dir /app app # buildkit"
)
PEOPLE = ("ada", "ben", "chen")

README = """# web

The public site of ACME. See [how to run it](#run) and the [handbook](https://example.com/handbook).

![build](https://example.com/build.svg)

## Run

```sh
docker run --rm -p 8080:8080 -e LOG_LEVEL=debug {host}/acme/web:2.1.0
```

| Variable | Default | Meaning |
|---|:-:|---|
| `PORT` | 8080 | where it listens |
| `LOG_LEVEL` | info | how much it says |

- [x] answers
- [ ] asks

> Not for production yet: `2.0` is.
"""

OPEN = {
    "mirror/alpine": "A minimal image with a package index, and only a few megabytes of it.",
    "mirror/nginx": "An HTTP server, reverse proxy and load balancer.",
    "mirror/postgres": "The PostgreSQL object-relational database.",
    "acme/web": "The public site, with everything that it needs to run behind a load balancer.",
    "acme/charts/site": "Everything that the public site needs in a cluster.",
    "acme/models/tiny": "",
}
"""What is public, and what is said of it."""

Entry = dict[str, Any]


@dataclass
class Pusher:
    """Who pushes into one registry. The content of layers comes from the seed: the same each time."""

    client: httpx2.Client
    random: Random

    def blob(self, name: str, content: bytes, media_type: str) -> Entry:
        """Push a blob; its descriptor."""
        digest = digest_of(content)
        expect(self.client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=content), 201)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def layer(self, name: str, size: int) -> Entry:
        """A layer of about this size."""
        content = gzip.compress(tar_of({"opt/data": self.random.randbytes(size)}), 1, mtime=0)
        return self.blob(name, content, LAYER)

    def manifest(self, name: str, document: Entry, *references: str) -> Entry:
        """Push a manifest under tags, or by digest alone; its descriptor."""
        content = json.dumps(document, indent=2).encode()
        digest = digest_of(content)
        for reference in references or (digest,):
            sent = self.client.put(
                f"/v2/{name}/manifests/{reference}", content=content, headers={"content-type": document["mediaType"]}
            )
            expect(sent, 201)
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(content)}

    def image(
        self, name: str, layers: Sequence[Entry], *references: str, platform: Sequence[str] = PLATFORMS[0]
    ) -> Entry:
        """Push an image of these layers."""
        config = self.blob(name, json.dumps(config_of(layers, platform)).encode(), OCI_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": list(layers),
            "annotations": {
                "org.opencontainers.image.created": "2026-11-20T09:30:00Z",
                "org.opencontainers.image.source": f"https://example.com/{name}",
                "org.opencontainers.image.revision": hashlib.sha1(name.encode()).hexdigest(),
            },
        }
        return self.manifest(name, document, *references)

    def index(self, name: str, base: Entry, size: int, *tags: str) -> Entry:
        """Push an image for several platforms, with what BuildKit says of the first."""
        entries = []
        for number, platform in enumerate(PLATFORMS):
            own = [base, self.layer(name, size + number * 7_000), self.layer(name, size // 3)]
            os, architecture, variant = platform
            described = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
            entries.append(self.image(name, own, platform=platform) | {"platform": described})
        statement = self.blob(
            name, b'{"predicateType": "https://slsa.dev/provenance/v1"}', "application/vnd.in-toto+json"
        )
        attestation = self.manifest(
            name, image_document(self.blob(name, b'{"architecture": "unknown"}', OCI_CONFIG), [statement])
        )
        entries.append(
            attestation
            | {
                "platform": {"os": "unknown", "architecture": "unknown"},
                "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
            }
        )
        return self.manifest(name, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, *tags)

    def attach(self, name: str, subject: Entry, kind: str, content: bytes) -> Entry:
        """Push a referrer, as cosign and oras do."""
        document = image_document(self.blob(name, b"{}", EMPTY), [self.blob(name, content, kind)])
        document |= {"artifactType": kind, "subject": subject}
        document["annotations"] = {"org.opencontainers.image.created": "2026-11-21T10:00:00Z"}
        return self.manifest(name, document)

    def chart(self, name: str, version: str) -> Entry:
        """Push a Helm chart."""
        about = {
            "apiVersion": "v2",
            "name": name.rpartition("/")[2],
            "version": version,
            "appVersion": "2.1.0",
            "description": "Everything that the public site needs in a cluster",
            "type": "application",
            "keywords": ["web", "site"],
            "home": "https://example.com/charts",
            "maintainers": [{"name": "Ada", "email": "ada@example.com"}],
            "dependencies": [{"name": "postgresql", "version": "15.x.x", "repository": "oci://example.com/charts"}],
        }
        config = self.blob(name, json.dumps(about).encode(), HELM_CONFIG)
        content = self.blob(name, gzip.compress(tar_of({"Chart.yaml": b"name: site"}), 1, mtime=0), HELM_LAYER)
        return self.manifest(name, image_document(config, [content]), version)


def image_document(config: Entry, layers: list[Entry]) -> Entry:
    """An image manifest."""
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}


def config_of(layers: Sequence[Entry], platform: Sequence[str]) -> Entry:
    """An image config with a history: a command a layer, and some that made none."""
    commands = (
        "/bin/sh -c #(nop) ADD file:0a1b2c in / ",
        INSTALL,
        "COPY --chown=10001 build/ /app/ # buildkit",
    )
    history: list[Entry] = [
        {"created": f"2026-11-20T09:2{number}:00Z", "created_by": commands[number % 3]} for number in range(len(layers))
    ]
    history[1:1] = [
        {"created": "2026-11-20T09:20:30Z", "created_by": '/bin/sh -c #(nop)  CMD ["bash"]', "empty_layer": True}
    ]
    history += [
        {
            "created": "2026-11-20T09:29:00Z",
            "created_by": text,
            "comment": "buildkit.dockerfile.v0",
            "empty_layer": True,
        }
        for text in ("ENV PORT=8080 LANG=C.UTF-8", "EXPOSE map[8080/tcp:{}]", "USER 10001", 'ENTRYPOINT ["/app/serve"]')
    ]
    os, architecture, variant = platform
    return {
        "os": os,
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "created": "2026-11-20T09:30:00Z",
        "author": "ada@example.com",
        "config": {
            "User": "10001",
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PORT=8080", "LANG=C.UTF-8"],
            "Entrypoint": ["/app/serve"],
            "Cmd": ["--listen", ":8080"],
            "WorkingDir": "/app",
            "ExposedPorts": {"8080/tcp": {}, "9090/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {"org.opencontainers.image.title": "web", "org.opencontainers.image.licenses": "Apache-2.0"},
            "StopSignal": "SIGQUIT",
        },
        "rootfs": {"type": "layers", "diff_ids": [entry["digest"] for entry in layers]},
        "history": history,
    }


def command(registry: Registry, *arguments: str, stdin: str | None = None) -> None:
    """Run `depotry` on the data of the server, in this process: a new one takes a second. In a thread: a browser's
    driver has a loop of its own here."""
    line = [*arguments, "--data", str(registry.data), *registry.place]
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(CliRunner().invoke, main, line, input=stdin).result()
    assert ended.exit_code == 0, f"{arguments}: {ended.output}"


def fill(registry: Registry) -> None:
    """Put everything there."""
    for name in PEOPLE:
        command(registry, "user", "add", name, "--password-stdin", stdin=f"{PASSWORD}\n")
    for line in (
        "org add acme --owner ada",
        "org add mirror --owner admin",
        "org set-member acme ben",
        "team add acme crew",
        "team join acme crew ben",
        "robot add acme+ci --role write",
    ):
        command(registry, *line.split())
    with registry.client(auth=("admin", ADMIN_PASSWORD)) as client:
        pusher = Pusher(client, Random(6))
        _mirror(pusher)
        _charts(pusher)
    with registry.client(auth=("ada", PASSWORD)) as client:
        pusher = Pusher(client, Random(7))
        _site(pusher)
        _private(pusher)
    _open(registry)
    _pull(registry)
    with registry.client() as client:
        # Counted seconds after the last change.
        wait_until(lambda: 'class="platform">linux/arm64' in client.get("/explore").text, what="the tally")


def _mirror(pusher: Pusher) -> None:
    for name, sizes in (("alpine", (40_000,)), ("nginx", (90_000, 30_000)), ("postgres", (200_000, 60_000, 20_000))):
        layers = [pusher.layer(f"mirror/{name}", size) for size in sizes]
        pusher.image(f"mirror/{name}", layers, "latest", "1", "1.0")


def _charts(pusher: Pusher) -> None:
    for version in ("0.9.0", "1.0.0", "1.1.0"):
        pusher.chart("acme/charts/site", version)
    model = pusher.blob("acme/models/tiny", b"weights" * 900, "application/vnd.cncf.model.weight.v1.raw")
    model["annotations"] = {"org.opencontainers.image.title": "tiny.gguf"}
    config = pusher.blob("acme/models/tiny", b"{}", "application/vnd.cncf.model.config.v1+json")
    document = image_document(config, [model]) | {"artifactType": "application/vnd.cncf.model.manifest.v1+json"}
    pusher.manifest("acme/models/tiny", document, "q4")


def _site(pusher: Pusher) -> None:
    base = pusher.layer("acme/web", 120_000)
    for minor in range(12):
        pusher.image("acme/web", [base, pusher.layer("acme/web", 9_000)], f"1.{minor}.0", f"1.{minor}.0-alpine")
    pusher.index("acme/web", base, 50_000, "2.0.0", "2.0", "stable")
    index = pusher.index("acme/web", base, 60_000, "2.1.0", "2.1", "2", "latest")
    pusher.attach("acme/web", index, COSIGN, b"signature")
    sbom = pusher.attach("acme/web", index, SPDX, b'{"spdxVersion": "SPDX-2.3"}' * 40)
    pusher.attach("acme/web", sbom, COSIGN, b"signature of the SBOM")
    pusher.image("acme/web", [base, pusher.layer("acme/web", 5_000)], "broken")
    expect(pusher.client.delete("/v2/acme/web/manifests/broken"), 202)


def _private(pusher: Pusher) -> None:
    base = pusher.layer("acme/payments/api", 70_000)
    pusher.index("acme/payments/api", base, 20_000, "0.1.0", "edge")
    pusher.image("ada/experiments", [pusher.layer("ada/experiments", 3_000)], "wip")


def _open(registry: Registry) -> None:
    """By the forms of the pages."""
    with registry.client(auth=("admin", ADMIN_PASSWORD)) as client:
        for name, description in OPEN.items():
            _send(client, f"/r/{name}/-/settings/visibility", visibility="public")
            _send(client, f"/r/{name}/-/settings/description", description=description)
    with registry.client(auth=("ada", PASSWORD)) as client:
        _send(client, "/r/acme/web/-/settings/access", holder="team:acme/crew", role="write")
        _send(client, "/r/acme/web/-/settings/access", holder="chen", role="read")
        _send(client, "/r/acme/web/-/readme", readme=README.replace("{host}", f"localhost:{registry.port}"))
        _send(client, "/r/acme/web/-/star", star="on")
        _send(client, "/r/mirror/alpine/-/star", star="on")
        made = {"namespace": "acme", "name": "empty", "visibility": "private"}
        _send(client, "/new", **made, description="Nothing was pushed here yet.")
    with registry.client(auth=("ben", PASSWORD)) as client:
        _send(client, "/r/acme/web/-/star", star="on")


def _send(client: httpx2.Client, path: str, **fields: str) -> None:
    expect(client.post(path, data=fields), 303)


def _pull(registry: Registry) -> None:
    with registry.client(auth=("ben", PASSWORD)) as client:
        headers = {"accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
        for name, tag, count in (("acme/web", "latest", 37), ("acme/web", "2.0", 9), ("mirror/alpine", "latest", 61)):
            for _ in range(count):
                expect(client.get(f"/v2/{name}/manifests/{tag}", headers=headers), 200)
