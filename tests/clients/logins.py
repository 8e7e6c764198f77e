"""How each client logs in, pushes, pulls, lists, copies, deletes and logs out: one table, so that one test drives all.

Every client gets `{address}`, `{repository}` (with the address), `{reference}`, `{copy}`, `{layout}`, `{tar}`,
`{folder}` and `{name}` filled in; the password comes on its standard input. `{tls}` is how it is told of plain HTTP, or
of the certificate.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.clients import images
from tests.clients.tools import Tool

Commands = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phrases:
    """The commands of one client. It has none for what is empty here."""

    login: str
    logout: str
    push: str
    pull: str
    plain: str
    trusting: str
    """`{tls}` with plain HTTP, and with a certificate in a folder `{certs}`."""
    bring: Commands = ()
    """Fills the client's own store with what it is about to push."""
    forget: str = ""
    """Takes it out of that store."""
    tags: str = ""
    copy: str = ""
    delete: str = ""


PHRASES: Final = {
    "crane": Phrases(
        login="{tls} auth login {address} -u {name} --password-stdin",
        logout="auth logout {address}",
        push="{tls} push {layout} {reference}",
        pull="{tls} pull --format=oci {reference} {folder}",
        tags="{tls} ls {repository}",
        copy="{tls} copy {reference} {copy}",
        delete="{tls} delete {reference}",
        plain="--insecure",
        trusting="--verbose",
    ),
    "skopeo": Phrases(
        login="login --{tls} -u {name} --password-stdin {address}",
        logout="logout {address}",
        push="copy --all --dest-{tls} oci:{layout}:made docker://{reference}",
        pull="copy --all --src-{tls} docker://{reference} oci:{folder}:made",
        tags="list-tags --{tls} docker://{repository}",
        copy="copy --all --src-{tls} --dest-{tls} docker://{reference} docker://{copy}",
        delete="delete --{tls} docker://{reference}",
        plain="tls-verify=false",
        trusting="cert-dir={certs}",
    ),
    "oras": Phrases(
        login="login --{tls} -u {name} --password-stdin {address}",
        logout="logout {address}",
        push="cp --from-oci-layout {layout}:made --to-{tls} {reference}",
        pull="cp --from-{tls} {reference} --to-oci-layout {folder}:made",
        tags="repo tags --{tls} {repository}",
        copy="cp --from-{tls} {reference} --to-{tls} {copy}",
        delete="manifest delete --{tls} --force {reference}",
        plain="plain-http",
        trusting="ca-file={certs}/ca.crt",
    ),
    "regctl": Phrases(
        login="{tls} registry login {address} -u {name} --pass-stdin",
        logout="registry logout {address}",
        push="{tls} image copy ocidir://{layout}:made {reference}",
        pull="{tls} image copy {reference} ocidir://{folder}:made",
        tags="{tls} tag ls {repository}",
        copy="{tls} image copy {reference} {copy}",
        delete="{tls} tag delete {reference}",
        plain="--host=reg={address},tls=disabled",
        trusting="--host=reg={address},tls=enabled",
    ),
    "podman": Phrases(
        login="login --{tls} -u {name} --password-stdin {address}",
        logout="logout {address}",
        bring=("import {tar} {reference}",),
        push="push --{tls} {reference}",
        forget="rmi --force {reference}",
        pull="pull --{tls} {reference}",
        tags="search --{tls} --list-tags {repository}",
        copy="push --{tls} {reference} {copy}",
        plain="tls-verify=false",
        trusting="cert-dir={certs}",
    ),
    "buildah": Phrases(
        login="login --{tls} -u {name} --password-stdin {address}",
        logout="logout {address}",
        bring=("from --name=made scratch", "add --quiet made {tar} /", "commit --quiet --rm made {reference}"),
        push="push --{tls} {reference} docker://{reference}",
        forget="rmi --force {reference}",
        pull="pull --{tls} {reference}",
        copy="push --{tls} {reference} docker://{copy}",
        plain="tls-verify=false",
        trusting="cert-dir={certs}",
    ),
    "docker": Phrases(
        login="login -u {name} --password-stdin {address}",
        logout="logout {address}",
        bring=("import {tar} {reference}",),
        push="push {reference}",
        forget="rmi --force {reference}",
        pull="pull {reference}",
        plain="",
        trusting="",
    ),
}


@dataclass(frozen=True, slots=True)
class Made:
    """Something to push: an image as a layout, and its only layer as a tar."""

    layout: Path
    tar: Path


def made_in(folder: Path, size: int = images.KIB) -> Made:
    """An image of one random file, made in a folder that is not there yet."""
    files = images.random_files(size)
    layout = images.single(folder / "layout", files=files)
    (folder / "layer.tar").write_bytes(images.tar_of(files))
    return Made(layout.path, folder / "layer.tar")


@dataclass(slots=True)
class Client:
    """One client, and one registry that it talks to. Names of images are without the address."""

    tool: Tool
    phrases: Phrases
    address: str
    certs: Path | None = None
    _pulls: int = field(default=0)

    @property
    def home(self) -> Path:
        """Where it keeps everything."""
        return self.tool.home

    def login(self, name: str, password: str) -> str:
        """Log in, which has to succeed."""
        return self.tool(*self._words(self.phrases.login, name=name), stdin=password.encode())

    def login_refused(self, name: str, password: str) -> str:
        """Log in, which must not succeed; returns what it said."""
        return self.tool.refused(*self._words(self.phrases.login, name=name), stdin=password.encode())

    def logout(self) -> str:
        """Forget the password."""
        return self.tool(*self._words(self.phrases.logout))

    def bring(self, made: Made, image: str) -> None:
        """Have an image ready for push, where the client pushes from a store of its own."""
        for command in self.phrases.bring:
            self.tool(*self._words(command, image, made=made))

    def push(self, made: Made, image: str) -> str:
        """Push, which has to succeed."""
        self.bring(made, image)
        return self.tool(*self._words(self.phrases.push, image, made=made))

    def push_refused(self, made: Made, image: str) -> str:
        """Push, which must not succeed; returns what it said."""
        self.bring(made, image)
        return self.tool.refused(*self._words(self.phrases.push, image, made=made))

    def pull(self, image: str) -> str:
        """Pull into nothing, which has to succeed."""
        return self.tool(*self._pull_words(image))

    def pull_refused(self, image: str) -> str:
        """Pull, which must not succeed; returns what it said."""
        return self.tool.refused(*self._pull_words(image))

    def pulls(self, image: str) -> bool:
        """Whether a pull succeeds."""
        return self.tool.succeeds(*self._pull_words(image))

    def tags(self, repository: str) -> str:
        """What it prints of the tags."""
        return self.tool(*self._words(self.phrases.tags, repository))

    def copy(self, image: str, to: str) -> str:
        """Copy inside the registry."""
        return self.tool(*self._words(self.phrases.copy, image, copy=f"{self.address}/{to}"))

    def delete(self, image: str) -> str:
        """Delete what a tag names."""
        return self.tool(*self._words(self.phrases.delete, image))

    def delete_refused(self, image: str) -> str:
        """Delete, which must not succeed; returns what it said."""
        return self.tool.refused(*self._words(self.phrases.delete, image))

    def forget(self, image: str) -> None:
        """Take an image out of the client's own store, if it is there."""
        if self.phrases.forget:
            self.tool.succeeds(*self._words(self.phrases.forget, image))

    def _pull_words(self, image: str) -> list[str]:
        self.forget(image)
        self._pulls += 1
        return self._words(self.phrases.pull, image, folder=str(self.home / f"pulled-{self._pulls}"))

    def _words(self, phrase: str, image: str = "", *, made: Made | None = None, **more: str) -> list[str]:
        tls = self.phrases.plain if self.certs is None else self.phrases.trusting
        values = {
            "tls": tls.format(address=self.address, certs=self.certs),
            "address": self.address,
            "reference": f"{self.address}/{image}",
            "repository": f"{self.address}/{image.partition(':')[0]}",
            **more,
        }
        if made is not None:
            values |= {"layout": str(made.layout), "tar": str(made.tar)}
        return [word.format(**values) for word in phrase.split()]
