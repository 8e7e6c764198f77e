"""The story that the hub is for, as people live it: in a real browser, with a real docker."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.browsing import Window, browser, window
from tests.clients.daemon import docker_host, remove_images
from tests.clients.tools import Tool, build_context, tool
from tests.running import ADMIN_PASSWORD, Registry

PASSWORD = "a rainy day in lisbon"
README = "# Kiln\n\nFires **clay** at 1,200 degrees.\n"
LIMIT_MS = 10_000.0
DEEDS = sorted(
    """
    session.begun organization.added member.set repository.created token.created login.begun blob.pushed manifest.pushed
    tag.set repository.readme repository.visibility tag.deleted
    """.split()  # noqa: SIM905 - a dozen words read better as a text
)
"""What she did, as the audit calls it."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A server with a user, maria, who has nothing yet."""
    started = Registry.start(tmp_path_factory.mktemp("story") / "data", is_open=False)
    started.command("user", "add", "maria", "--password-stdin", stdin=f"{PASSWORD}\n")
    yield started
    started.kill()


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """docker, with a daemon."""
    home = tmp_path_factory.mktemp("docker")
    with docker_host(home) as host:
        yield tool("docker", home, "--host", host)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for everybody."""
    with browser() as made:
        yield made


def test_from_signing_in_to_the_audit(chrome: Browser, registry: Registry, docker: Tool, tmp_path: Path) -> None:
    """She signs in, makes an organization and a private repository, gets a token, pushes with docker, sees the tag with
    its platforms and layers, writes a README and makes it public. A stranger finds it, copies the command, and it
    pulls. She deletes the tag. An admin finds everything in the lists and in the audit log."""
    with (
        window(chrome, registry.url) as hers,
        window(chrome, registry.url) as strangers,
        window(chrome, registry.url) as admins,
    ):
        for opened in (hers, strangers, admins):
            opened.page.set_default_timeout(LIMIT_MS)
        _sign_in(hers, "maria", PASSWORD)
        _make_repository(hers.page)
        assert _found_by(strangers) == []
        secret, address = _make_token(hers.page)
        try:
            pushed = _push(docker, address, secret, tmp_path)
            _look_at_the_tag(hers, pushed)
            _write_a_readme(hers)
            assert _found_by(strangers) == []
            _publish(hers)
            _pull_as_a_stranger(strangers, docker, address)
        finally:
            remove_images(docker, address)
        _delete_the_tag(hers)
        strangers.go("/r/atelier/kiln")
        expect(strangers.page.locator("main")).to_contain_text("Fires clay at 1,200 degrees.")
        assert "manifest unknown" in docker.refused("pull", f"{address}/atelier/kiln:1.0")
        _sign_in(admins, "admin", ADMIN_PASSWORD)
        _find_it_in_the_lists(admins)
        _find_it_in_the_audit(admins, pushed)
        for opened in (hers, strangers, admins):
            opened.require_clean()


def _main(page: Page) -> Locator:
    return page.locator("main")


def _sign_in(seen: Window, name: str, password: str) -> None:
    page = seen.page
    seen.go("/")
    page.get_by_role("link", name="Sign in").first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    _main(page).get_by_role("button", name="Sign in").click()
    expect(page.get_by_label(f"Menu of {name}")).to_be_visible()


def _make_repository(page: Page) -> None:
    page.get_by_label("Create").click()
    page.get_by_role("link", name="New organization").click()
    page.get_by_label("Name").fill("atelier")
    page.get_by_role("button", name="Make the organization").click()
    expect(_main(page)).to_contain_text("The organization is there.")
    _main(page).get_by_role("link", name="Repositories").click()
    page.get_by_role("link", name="New repository").click()
    expect(page.get_by_label("Owner")).to_have_value("atelier")
    page.get_by_label("Name", exact=True).fill("kiln")
    page.get_by_label("Description").fill("Fires the clay")
    expect(page.get_by_label("Private")).to_be_checked()
    page.get_by_role("button", name="Create repository").click()
    expect(_main(page).get_by_text("Private", exact=True)).to_be_visible()
    expect(_main(page)).to_contain_text("docker push")


def _make_token(page: Page) -> tuple[str, str]:
    """The token, from the clipboard, and the address that its page tells docker."""
    page.get_by_label("Menu of maria").click()
    page.get_by_role("link", name="Access tokens").click()
    page.get_by_role("link", name="New token").first.click()
    page.get_by_label("Name", exact=True).fill("laptop")
    page.get_by_label("Pull and push", exact=False).first.check()
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("button", name="Copy").first.click()
    address = re.search(r"docker login (\S+) -u maria --password-stdin", _main(page).inner_text())
    assert address is not None
    return page.evaluate("navigator.clipboard.readText()"), address[1]


def _push(docker: Tool, address: str, secret: str, folder: Path) -> str:
    """An image for two platforms, by docker alone; returns its digest."""
    name = f"{address}/atelier/kiln"
    assert "Login Succeeded" in docker("login", address, "-u", "maria", "--password-stdin", stdin=secret.encode())
    for platform in ("amd64", "arm64"):
        build_context(folder / platform)
        docker("build", "--tag", f"{name}:1.0-{platform}", folder / platform)
        docker("push", f"{name}:1.0-{platform}")
    docker("manifest", "create", "--insecure", f"{name}:1.0", f"{name}:1.0-amd64", f"{name}:1.0-arm64")
    docker("manifest", "annotate", "--arch=arm64", f"{name}:1.0", f"{name}:1.0-arm64")
    digest = docker("manifest", "push", "--insecure", f"{name}:1.0").split()[-1]
    docker("logout", address)
    return digest


def _look_at_the_tag(seen: Window, digest: str) -> None:
    """From her repositories down to the layers of the other platform."""
    page = seen.page
    page.get_by_role("link", name="Repositories").first.click()
    page.get_by_role("link", name="atelier/kiln").click()
    page.get_by_role("link", name=re.compile("^Tags")).first.click()
    row = page.locator("tr", has=page.get_by_role("link", name="1.0", exact=True))
    expect(row).to_contain_text("maria")
    row.get_by_role("link", name="1.0", exact=True).click()
    expect(_main(page)).to_contain_text("Image for 2 platforms")
    expect(_main(page).locator(f'[data-copy="{digest}"]').first).to_be_attached()
    amd64 = _layers(page)
    page.get_by_role("link", name="linux/arm64").click()
    page.wait_for_url("**digest=sha256**")
    arm64 = _layers(page)
    assert len(amd64) == len(arm64) == 2 and amd64 != arm64


def _layers(page: Page) -> list[str]:
    """Digests of what the open page calls layers, in their order."""
    expect(_main(page)).to_contain_text(re.compile(r"Layers\s+2"))
    rows = page.locator("section", has=page.get_by_role("heading", name=re.compile("^Layers"))).locator("[data-copy]")
    assert "COPY dir:" in _main(page).inner_text()
    return [one.get_attribute("data-copy") or "" for one in rows.all()]


def _write_a_readme(seen: Window) -> None:
    page = seen.page
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="Write a README").click()
    page.get_by_label("README").fill(README)
    expect(page.locator("#preview strong")).to_have_text("clay")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".readme strong")).to_have_text("clay")


def _publish(seen: Window) -> None:
    page = seen.page
    _main(page).get_by_role("link", name="Settings").click()
    page.get_by_role("button", name="Make public").click()
    expect(_main(page).get_by_text("Public", exact=True)).to_be_visible()


def _found_by(seen: Window) -> list[str]:
    """Repositories that searching for a part of the name finds, with the search of every page."""
    page = seen.page
    seen.go("/")
    page.get_by_role("combobox", name=re.compile("^Search")).fill("kil")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=kil")
    return [one.inner_text().replace("\n", "") for one in page.locator("#results .card-target").all()]


def _pull_as_a_stranger(seen: Window, docker: Tool, address: str) -> None:
    """Found by search; the command is copied, and holds when it is run without a login in an emptied store."""
    assert _found_by(seen) == ["atelier/kiln"]
    page = seen.page
    page.locator("#results .card-target").click()
    expect(page.locator(".readme strong")).to_have_text("clay")
    _main(page).get_by_role("link", name=re.compile("^Tags")).first.click()
    _main(page).get_by_label("Copy a command for 1.0", exact=True).click()
    page.locator("details[data-fill][open] .command [data-copy]").first.click()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == f"docker pull {address}/atelier/kiln:1.0"
    remove_images(docker, address)
    assert "Downloaded newer image" in docker(*command.split()[1:])


def _delete_the_tag(seen: Window) -> None:
    """A question comes first."""
    page = seen.page
    seen.go("/r/atelier/kiln/-/tags/1.0")
    page.get_by_role("button", name="Delete…").click()
    page.locator("dialog[open] .button-destroy").click()
    expect(_main(page)).to_contain_text("is deleted")
    seen.go("/r/atelier/kiln/-/tags")
    names = page.locator("#tags .tag-name").all_inner_texts()
    assert sorted(names) == ["1.0-amd64", "1.0-arm64"]


def _find_it_in_the_lists(seen: Window) -> None:
    page = seen.page
    page.get_by_role("link", name="Administration").click()
    for tab, name in (("Repositories", "atelier/kiln"), ("Users", "maria"), ("Organizations", "atelier")):
        page.get_by_role("navigation", name="Administration").get_by_role("link", name=tab).click()
        expect(_main(page).get_by_role("link", name=name, exact=True)).to_be_visible()


def _find_it_in_the_audit(seen: Window, digest: str) -> None:
    """Who did what, without what was secret."""
    page = seen.page
    page.get_by_role("navigation", name="Administration").get_by_role("link", name="Audit log").click()
    page.get_by_label("Who").fill("maria")
    page.wait_for_url("**actor=maria**")
    actions = page.locator(".audit-action")
    expect(actions.last).to_have_text("session.begun")
    assert sorted(set(actions.all_inner_texts())) == DEEDS
    page.get_by_label("Action").fill("tag.*")
    page.wait_for_url("**action=tag**")
    expect(actions.last).to_have_text("tag.set")
    assert actions.all_inner_texts() == ["tag.deleted", "tag.set", "tag.set", "tag.set"]
    row = page.locator("#rows tr", has_text="tag.deleted")
    expect(row).to_contain_text("atelier/kiln")
    expect(row.locator(f'[data-copy="{digest}"]')).to_be_attached()
