"""A repository's pages: what it is, its tags, one image, what happened, and what its admins set."""

import json
import re

import pytest

from tests.web.conftest import Pages
from tests.web.test_explore import STATEMENTS_MAX

pytestmark = pytest.mark.anyio
WEB = "/r/acme/web"
"""Of the page of one image, which shows an index, a part of it, its config and what is attached: as many whatever is
there."""


def digests(html: str) -> list[str]:
    """Every digest that a page holds, each once."""
    return list(dict.fromkeys(re.findall(r"sha256:[0-9a-f]{64}", html)))


def tags(html: str) -> list[str]:
    """The tags of a list, in order."""
    return re.findall(r'class="tag-name" href="/r/[^"]+/-/tags/([^"]+)"', html)


async def digest_of(pages: Pages, tag: str, name: str = "acme/web") -> str:
    """What a tag points to."""
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    answer = await pages.client.head(f"/v2/{name}/manifests/{tag}", headers=pages.shown("ada") | {"accept": accept})
    return str(answer.headers["docker-content-digest"])


class TestOverview:
    """What it is."""

    async def test_for_everybody(self, pages: Pages) -> None:
        """README, description, how to pull it, numbers; nothing that only some may do."""
        seen = await pages.get(WEB)
        assert '<h2 id="readme-web">web</h2>' in seen and "The public site, with everything" in seen
        assert "docker pull registry.test/acme/web:latest" in seen
        assert "linux/arm64" in seen and "<strong>46</strong>" in seen and "Pulls a day" in seen
        assert "/-/readme" not in seen and "/-/settings" not in seen
        assert 'href="/sign-in?next=%2Fr%2Facme%2Fweb"' in seen or "/sign-in?next=/r/acme/web" in seen

    async def test_for_who_may_more(self, pages: Pages) -> None:
        """Admins of the repository edit the README and see settings."""
        seen = await pages.get(WEB, "ada")
        assert f'href="{WEB}/-/readme"' in seen and f'href="{WEB}/-/settings"' in seen
        seen = await pages.get(WEB, "ben")
        assert f'href="{WEB}/-/readme"' not in seen and "/-/settings" not in seen

    async def test_a_chart_is_pulled_with_helm(self, pages: Pages) -> None:
        """And a model with oras."""
        seen = await pages.get("/r/acme/charts/site")
        assert "helm pull oci://registry.test/acme/charts/site --version 1.1.0" in seen
        assert "oras pull registry.test/acme/models/tiny:q4" in await pages.get("/r/acme/models/tiny")

    async def test_sec_027_what_is_private(self, pages: Pages) -> None:
        """It looks like what is not there; who is nobody is led to the form for signing in, for both."""
        for name in ("acme/payments/api", "acme/payments/nil"):
            for place in ("", "/-/tags", "/-/tags/edge", "/-/activity", "/-/readme", "/-/settings"):
                await pages.get(f"/r/{name}{place}", "chen", status=404)
                assert (await pages.client.get(f"/r/{name}{place}")).status_code == 303
        await pages.get("/r/acme/payments/api", "ada")

    async def test_names_that_cannot_be(self, pages: Pages) -> None:
        """400."""
        await pages.get("/r/Not%20A%20Name", status=400)


class TestTags:
    """The most used page."""

    async def test_a_row_each(self, pages: Pages) -> None:
        """Newest first, with digests of the index and of each platform, sizes, who pushed, pulls, signatures."""
        seen = await pages.get(f"{WEB}/-/tags")
        assert tags(seen)[:4] == ["latest", "2", "2.1", "2.1.0"]
        assert len(tags(seen)) == 31
        index = await digest_of(pages, "latest")
        platforms = re.findall(r"\?digest=(sha256:[0-9a-f]{64})", seen)
        assert index in digests(seen) and len(set(platforms)) == 6
        assert "Signed" in seen and "37 pulls" in seen and ">ada<" in seen
        assert 'name="tag"' not in seen

    @pytest.mark.parametrize(
        ("query", "first"),
        [
            ("sort=-version", ["2.1.0", "2.1", "2.0.0", "2.0"]),
            ("sort=name", ["1.0.0", "1.0.0-alpine", "1.1.0", "1.1.0-alpine"]),
            ("sort=version", ["stable"]),
            ("q=ALPINE", ["1.11.0-alpine", "1.10.0-alpine"]),
            ("q=2.1", ["2.1", "2.1.0"]),
        ],
    )
    async def test_orders_and_filter(self, pages: Pages, query: str, first: list[str]) -> None:
        """Versions as versions, and a text anywhere in the name."""
        assert tags(await pages.get(f"{WEB}/-/tags?{query}"))[: len(first)] == first or "stable" in first

    @pytest.mark.parametrize("query", ["sort=digest", "sort=name'", "sort=-", "after=x", "q=%00", f"q={'x' * 200}"])
    async def test_sec_026_what_is_no_filter_is_refused(self, pages: Pages, query: str) -> None:
        """400."""
        await pages.get(f"{WEB}/-/tags?{query}", status=400)

    async def test_a_position_of_another_order_is_refused(self, pages: Pages) -> None:
        """And none reaches another repository's tags."""
        from registry.api.hub import cursors

        for position in ((None, "2.0"), ("x", "2.0")):
            await pages.get(f"{WEB}/-/tags?after={cursors.write(position)}", status=400)
        rest = await pages.get(f"{WEB}/-/tags?sort=name&after={cursors.write((None, '2.1'))}")
        assert tags(rest) == ["2.1.0", "latest", "stable"]
        assert f'href="{WEB}/-/tags?sort=name"' in rest

    async def test_a_piece_for_htmx(self, pages: Pages) -> None:
        """The table, and how many there are."""
        seen = await pages.get(f"{WEB}/-/tags?q=alpine", piece=True)
        assert seen.strip().startswith('<div id="tags"') and "<html" not in seen
        assert 'id="tags-total" hx-swap-oob="true">12 of 31<' in seen

    async def test_nothing_fits(self, pages: Pages) -> None:
        """It says so."""
        assert "No tag fits" in await pages.get(f"{WEB}/-/tags?q=zzz")

    async def test_commands_are_said_once(self, pages: Pages) -> None:
        """A pattern for each way to pull, which a script fills in: not one command a tag and tool."""
        seen = await pages.get(f"{WEB}/-/tags")
        assert seen.count("docker pull registry.test/acme/web:%tag%") == 2
        assert seen.count("kubernetes".capitalize()) == 1


class TestImage:
    """One tag, one manifest."""

    async def test_a_tag_of_an_index(self, pages: Pages) -> None:
        """Platforms to choose from, layers with their commands, what runs, what is attached, and bytes."""
        seen = await pages.get(f"{WEB}/-/tags/latest")
        assert "linux/amd64" in seen and "linux/arm64/v8" in seen and "Image for 3 platforms" in seen
        assert "<b>RUN</b> apt-get update &amp;&amp; apt-get install" in seen and "<b>ENTRYPOINT</b>" in seen
        assert "/app/serve" in seen and "8080/tcp" in seen and "Apache-2.0" in seen and "SIGQUIT" in seen
        assert "application/vnd.dev.cosign.artifact.sig.v1+json" in seen and "SBOM" in seen
        assert await digest_of(pages, "latest") in digests(seen)
        assert 'rel="nofollow noopener noreferrer ugc"' in seen

    async def test_another_platform(self, pages: Pages) -> None:
        """By its digest, as the list links it; one that is not of this tag shows the usual one."""
        listed = await pages.get(f"{WEB}/-/tags")
        chosen = re.findall(r"/-/tags/latest\?digest=(sha256:[0-9a-f]{64})\">linux/arm64", listed)[0]
        assert f"{WEB}/-/manifests/{chosen}/raw" in await pages.get(f"{WEB}/-/tags/latest?digest={chosen}")
        strange = await digest_of(pages, "1.0.0")
        assert f"{WEB}/-/manifests/{strange}/raw" not in await pages.get(f"{WEB}/-/tags/latest?digest={strange}")

    async def test_a_manifest(self, pages: Pages) -> None:
        """By its digest: its tags, the parts of an index and what attests to them."""
        index = await digest_of(pages, "latest")
        seen = await pages.get(f"{WEB}/-/manifests/{index}")
        linked = re.findall(r'class="badge" href="/r/acme/web/-/tags/([^"]+)"', seen)
        assert set(linked) == {"2", "2.1", "2.1.0", "latest"}
        assert "Attestation" in seen and f"docker pull registry.test/acme/web@{index}" in seen
        part = next(one for one in digests(seen) if f'/-/manifests/{one}"' in seen and one != index)
        assert index in digests(await pages.get(f"{WEB}/-/manifests/{part}"))

    async def test_its_bytes(self, pages: Pages) -> None:
        """As they were pushed, for downloading: no browser takes them for a page (SEC-032)."""
        digest = await digest_of(pages, "1.0.0")
        for word in ("raw", "config"):
            answer = await pages.client.get(f"{WEB}/-/manifests/{digest}/{word}")
            assert answer.status_code == 200 and json.loads(answer.content)
            assert answer.headers["content-type"] == "application/json"
            assert re.fullmatch(r'attachment; filename="web-[0-9a-f]{12}\.json"', answer.headers["content-disposition"])
            assert "sandbox" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        accept = {"accept": "application/vnd.oci.image.manifest.v1+json"} | pages.shown("ada")
        pulled = await pages.client.get(f"/v2/acme/web/manifests/{digest}", headers=accept)
        raw = await pages.client.get(f"{WEB}/-/manifests/{digest}/raw")
        assert raw.content == pulled.content

    async def test_charts_and_others(self, pages: Pages) -> None:
        """What they say of themselves."""
        seen = await pages.get("/r/acme/charts/site/-/tags/1.0.0")
        assert "Helm chart" in seen and "Everything that the public site needs in a cluster" in seen
        assert "postgresql 15.x.x" in seen and "helm install site oci://registry.test/acme/charts/site" in seen
        seen = await pages.get("/r/acme/models/tiny/-/tags/q4")
        assert "tiny.gguf" in seen and "AI model" in seen

    async def test_what_is_gone(self, pages: Pages) -> None:
        """A deleted tag says when, one that never was says that, and so does a manifest."""
        assert "This tag was deleted" in await pages.get(f"{WEB}/-/tags/broken", status=404)
        assert "Restore it" in await pages.get(f"{WEB}/-/tags/broken", "ada", status=404)
        assert "There is no such tag" in await pages.get(f"{WEB}/-/tags/never", status=404)
        assert "no such manifest" in await pages.get(f"{WEB}/-/manifests/sha256:{'0' * 64}", status=404)
        await pages.get(f"{WEB}/-/manifests/sha256:{'0' * 63}", status=400)
        await pages.get(f"{WEB}/-/tags/.x", status=400)


class TestDeletion:
    """Tags and images go, after a question that says what that means."""

    async def test_what_shares_the_digest(self, desk: Pages) -> None:
        """The dry run changes nothing; the deed takes the tags alone."""
        form = {"tag": ["2.1", "1.0.0", "1.0.0-alpine"]}
        asked = await desk.refused(f"{WEB}/-/delete-tags", "ben", 200, **form)
        assert "Delete 3 tags?" in asked and "2, 2.1.0, latest have the same digest" in asked
        assert "No tag leads to this image any more." in asked
        assert len(tags(await desk.get(f"{WEB}/-/tags"))) == 31
        lost = await digest_of(desk, "1.0.0")
        seen = await desk.done(f"{WEB}/-/delete-tags", "ben", confirmed="yes", **form)
        assert "3 tags are deleted." in seen
        assert not {"2.1", "1.0.0", "1.0.0-alpine"} & set(tags(seen))
        await desk.get(f"{WEB}/-/manifests/{lost}")

    async def test_with_their_images(self, desk: Pages) -> None:
        """Those that no tag leads to go too, with the parts that nothing else names; the others stay."""
        kept, gone = await digest_of(desk, "latest"), await digest_of(desk, "stable")
        named = [
            set(re.findall(r"/-/manifests/(sha256:[0-9a-f]{64})\"", await desk.get(f"{WEB}/-/manifests/{digest}")))
            for digest in (kept, gone)
        ]
        # They share what a builder says of both.
        shared = named[0] & named[1]
        parts = named[1] - shared - {gone}
        assert len(parts) == 3 and len(shared) == 1
        form = {"tag": ["stable", "2.0", "2.0.0", "2.1"], "confirmed": "yes", "manifests": "on"}
        await desk.done(f"{WEB}/-/delete-tags", "ben", **form)
        for digest in {gone, *parts}:
            await desk.get(f"{WEB}/-/manifests/{digest}", status=404)
        for digest in {kept, *shared}:
            await desk.get(f"{WEB}/-/manifests/{digest}")

    async def test_one_image(self, desk: Pages) -> None:
        """With all its tags; the page says which, and what loses something."""
        digest = await digest_of(desk, "latest")
        asked = await desk.refused(f"{WEB}/-/delete-manifest", "ben", 200, digest=digest)
        for text in ("Its tags go with it:", "What is attached to it stays"):
            assert text in asked
        seen = await desk.done(f"{WEB}/-/delete-manifest", "ben", digest=digest, confirmed="yes", parts="on")
        assert not {"latest", "2", "2.1", "2.1.0"} & set(tags(seen))

    async def test_a_dialog(self, pages: Pages) -> None:
        """htmx gets the question alone."""
        headers = {"hx-request": "true"} | pages.shown("ben")
        answer = await pages.client.post(f"{WEB}/-/delete-tags", headers=headers, data={"tag": "latest"})
        assert answer.status_code == 200 and "<html" not in answer.text and "dialog-header" in answer.text

    async def test_who_may_not(self, pages: Pages) -> None:
        """Readers see no boxes, and are refused."""
        assert 'name="tag"' not in await pages.get(f"{WEB}/-/tags", "chen")
        assert 'name="tag"' in await pages.get(f"{WEB}/-/tags", "ben")
        for path, form in (("delete-tags", {"tag": "latest"}), ("delete-manifest", {"digest": f"sha256:{'0' * 64}"})):
            assert (await pages.post(f"{WEB}/-/{path}", "chen", form | {"confirmed": "yes"})).status_code == 403

    async def test_bad_forms(self, pages: Pages) -> None:
        """400 for what is no tag or digest, and for too many; nothing is chosen: it says so."""
        await pages.refused(f"{WEB}/-/delete-tags", "ben", 400, tag=".x")
        await pages.refused(f"{WEB}/-/delete-tags", "ben", 400, tag=[f"x{number}" for number in range(51)])
        await pages.refused(f"{WEB}/-/delete-manifest", "ben", 400, digest="sha256:0")
        assert "none was chosen" in await pages.refused(f"{WEB}/-/delete-tags", "ben", 200)


class TestActivity:
    """What tags have pointed to, and back."""

    async def test_the_history_of_tags(self, pages: Pages) -> None:
        """Who did what, newest first; one tag alone."""
        seen = await pages.get(f"{WEB}/-/activity")
        assert tags(seen)[:3] == ["broken", "broken", "latest"]
        assert "deleted the tag" in seen and "/-/restore-tag" not in seen
        assert tags(await pages.get(f"{WEB}/-/activity?tag=broken")) == ["broken", "broken"]
        await pages.get(f"{WEB}/-/activity?tag=.x", status=400)
        await pages.get(f"{WEB}/-/activity?after=x", status=400)

    async def test_a_tag_comes_back(self, desk: Pages) -> None:
        """As it was; what is gone for good says so."""
        await desk.done(f"{WEB}/-/delete-tags", "ben", tag="stable", confirmed="yes")
        seen = await desk.get(f"{WEB}/-/tags/stable", "ben", status=404)
        digest = re.findall(r'name="digest" value="(sha256:[0-9a-f]{64})"', seen)[0]
        assert "points to it again" in await desk.done(f"{WEB}/-/restore-tag", "ben", tag="stable", digest=digest)
        assert await digest_of(desk, "stable") == digest
        lost = await desk.done(f"{WEB}/-/restore-tag", "ben", tag="x", digest=f"sha256:{'1' * 64}")
        assert "not here any more" in lost

    async def test_the_audit(self, pages: Pages) -> None:
        """For admins of the repository, without addresses; those of the instance see them."""
        seen = await pages.get(f"{WEB}/-/audit", "ada")
        assert "repository.visibility" in seen and "star.added" in seen and "127.0.0.1" not in seen
        await pages.get(f"{WEB}/-/audit", "ben", status=403)
        await pages.get(f"{WEB}/-/audit?after=x", "ada", status=400)


class TestReadme:
    """What people write."""

    async def test_it_is_saved(self, desk: Pages) -> None:
        """By its admins; HTML in it is text (SEC-032)."""
        text = "# New\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))"
        seen = await desk.done(f"{WEB}/-/readme", "ada", readme=text, version="")
        assert "The README is saved." in seen and "&lt;script&gt;alert(1)" in seen
        assert 'href="javascript' not in seen
        assert "# New" in await desk.get(f"{WEB}/-/readme", "ada")

    async def test_nobody_overwrites_what_he_has_not_seen(self, desk: Pages) -> None:
        """The form says what it has seen; a second time is meant."""
        form = await desk.get(f"{WEB}/-/readme", "ada")
        version = re.findall(r'name="version" value="([^"]+)"', form)[0]
        await desk.done(f"{WEB}/-/readme", "admin", readme="admin's", version=version)
        again = await desk.refused(f"{WEB}/-/readme", "ada", 409, readme="ada's", version=version)
        assert "changed it meanwhile" in again and "ada&#39;s" in again
        assert "admin&#39;s" in await desk.get(f"{WEB}/-/readme", "ada")
        version = re.findall(r'name="version" value="([^"]+)"', again)[0]
        await desk.done(f"{WEB}/-/readme", "ada", readme="ada's", version=version)

    async def test_a_preview(self, pages: Pages) -> None:
        """A piece for htmx, a page without; nothing is saved."""
        headers = {"hx-request": "true"} | pages.shown("ada")
        data = {"readme": "*hello*"}
        answer = await pages.client.post(f"{WEB}/-/readme/preview", headers=headers, data=data)
        assert "<em>hello</em>" in answer.text and "<html" not in answer.text
        page = await pages.refused(f"{WEB}/-/readme/preview", "ada", 200, readme="*hello*")
        assert "<em>hello</em>" in page and "*hello*" in page
        assert "<em>hello</em>" not in await pages.get(WEB)

    async def test_too_long(self, pages: Pages) -> None:
        """It says so beside the text, and keeps it."""
        seen = await pages.refused(f"{WEB}/-/readme", "ada", 400, readme="x" * 300_000)
        assert "at most" in seen and "xxx" in seen

    async def test_who_may_not(self, pages: Pages) -> None:
        """Writers neither."""
        assert (await pages.post(f"{WEB}/-/readme", "ben", {"readme": "x"})).status_code == 403
        await pages.get(f"{WEB}/-/readme", "ben", status=403)


class TestStars:
    """What somebody likes."""

    async def test_given_and_taken(self, desk: Pages) -> None:
        """It shows at once, and in the list."""
        assert ">Starred<" in (await desk.done(f"{WEB}/-/star", "chen", star="on")).replace("</svg>", ">")
        assert "acme/web" in await desk.get("/stars", "chen")
        await desk.done(f"{WEB}/-/star", "chen", star="off")
        assert "No stars yet" in await desk.get("/stars", "chen")

    async def test_htmx_gets_the_button(self, desk: Pages) -> None:
        """Nothing else."""
        headers = {"hx-request": "true"} | desk.shown("chen")
        answer = await desk.client.post(f"{WEB}/-/star", headers=headers, data={"star": "on"})
        assert answer.text.strip().startswith("<form") and "Starred" in answer.text

    async def test_nobody_signs_in_first(self, pages: Pages) -> None:
        """A star is somebody's."""
        answer = await pages.client.post(f"{WEB}/-/star", data={"star": "on"})
        assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")


class TestSettings:
    """What admins set."""

    async def test_description(self, desk: Pages) -> None:
        """One line; it shows in lists."""
        await desk.done(f"{WEB}/-/settings/description", "ada", description="  <b>New</b> words ")
        assert "&lt;b&gt;New&lt;/b&gt; words" in await desk.get("/explore")
        seen = await desk.refused(f"{WEB}/-/settings/description", "ada", 400, description="x" * 501)
        assert "At most 500 characters." in seen and "x" * 501 in seen

    async def test_visibility(self, desk: Pages) -> None:
        """Private: nobody else sees it from then on. Right after it the next change is allowed."""
        await desk.done(f"{WEB}/-/settings/visibility", "ada", visibility="private")
        await desk.done(f"{WEB}/-/settings/description", "ada", description="x")
        assert (await desk.client.get(WEB)).status_code == 303
        assert "acme/web" not in await desk.get("/explore")
        await desk.refused(f"{WEB}/-/settings/visibility", "ada", 400, visibility="secret")

    async def test_names(self, desk: Pages) -> None:
        """A page of the former name leads to the new one; the name can be given up."""
        seen = await desk.done(f"{WEB}/-/settings/name", "ada", name="acme/site")
        assert "acme/site" in seen and "Former names" in seen
        for former in (WEB, "/r/acme%2Fweb", "/r/%61cme%2fweb"):
            answer = await desk.client.get(f"{former}/-/tags?sort=name")
            assert (answer.status_code, answer.headers["location"]) == (303, "/r/acme/site/-/tags?sort=name")
            answer = await desk.client.get(f"{former}?q=/-/")
            assert (answer.status_code, answer.headers["location"]) == (303, "/r/acme/site?q=%2F-%2F")
        await desk.done("/r/acme/site/-/settings/aliases", "ada", name="acme/web")
        await desk.settle()
        assert "sign-in" in (await desk.client.get(WEB)).headers["location"]

    @pytest.mark.parametrize(
        ("name", "status", "text"),
        [
            ("Not A Name", 400, "not the name of a repository"),
            ("acme/payments/api", 409, "name of another"),
            ("ben/web", 403, "may not create"),
            ("web", 403, "may not create"),
        ],
    )
    async def test_names_that_cannot_be(self, desk: Pages, name: str, status: int, text: str) -> None:
        """The form says why, with what was typed."""
        seen = await desk.refused(f"{WEB}/-/settings/name", "ada", status, name=name)
        assert text in seen and f'value="{name}"' in seen

    async def test_access(self, desk: Pages) -> None:
        """Who has access and why; given and taken."""
        seen = await desk.get(f"{WEB}/-/settings/access", "ada")
        assert "owns the namespace" in seen and "acme/crew" in seen and "acme+ci" in seen
        await desk.done(f"{WEB}/-/settings/access", "ada", holder="chen", role="write")
        await desk.settle()
        assert 'name="tag"' in await desk.get(f"{WEB}/-/tags", "chen")
        await desk.done(f"{WEB}/-/settings/access", "ada", holder="chen", role="none")
        await desk.settle()
        assert 'name="tag"' not in await desk.get(f"{WEB}/-/tags", "chen")
        wrong = await desk.refused(f"{WEB}/-/settings/access", "ada", 400, holder="nobody-here", role="read")
        assert "no such user" in wrong and 'value="nobody-here"' in wrong
        await desk.refused(f"{WEB}/-/settings/access", "ada", 400, holder="chen", role="god")

    async def test_the_end(self, desk: Pages) -> None:
        """Only with its name, typed."""
        assert "not its name" in await desk.refused(f"{WEB}/-/settings/delete", "ada", 400, confirmation="acme/we")
        assert "Type the name" in await desk.get(f"{WEB}/-/settings/delete", "ada")
        assert "is deleted" in await desk.done(f"{WEB}/-/settings/delete", "ada", confirmation="acme/web")
        await desk.get(WEB, "ada", status=404)

    async def test_the_next_of_its_name_has_an_audit_of_its_own(self, desk: Pages) -> None:
        """What was done in another repository that had the name is nothing for the admins of this one."""
        assert "star.added" in await desk.get(f"{WEB}/-/audit", "ada")
        await desk.done(f"{WEB}/-/settings/delete", "ada", confirmation="acme/web")
        await desk.settle()
        given = {"namespace": "acme", "name": "web", "description": "", "visibility": "private"}
        await desk.done("/new", "ada", **given)
        seen = await desk.get(f"{WEB}/-/audit", "ada")
        assert "repository.created" in seen and "star.added" not in seen and "manifest.pushed" not in seen

    async def test_sec_020_other_fields_change_nothing(self, desk: Pages) -> None:
        """SEC-020: what a form does not ask for is not taken."""
        form = {"description": "x", "visibility": "private", "namespace": "ben", "star_count": "99", "name": "ben/web"}
        await desk.done(f"{WEB}/-/settings/description", "ada", **form)
        seen = await desk.get(WEB)
        assert "Public" in seen and ">99<" not in seen


class TestNew:
    """A repository made by hand."""

    async def test_it_is_made(self, desk: Pages) -> None:
        """In a namespace of the caller's, as it was asked for."""
        form = await desk.get("/new?namespace=acme", "ada")
        assert '<option value="acme" selected>' in form and '<option value="ada"' in form
        given = {"namespace": "acme", "name": "tools/kit", "description": "For all", "visibility": "public"}
        seen = await desk.done("/new", "ada", **given)
        assert "Nothing was pushed yet" in seen and "For all" in seen
        assert "Public" in await desk.get("/r/acme/tools/kit")

    @pytest.mark.parametrize(
        ("fields", "status", "text"),
        [
            ({"name": "web"}, 409, "There is a repository of this name"),
            ({"name": "NO"}, 400, "not the name of a repository"),
            ({"name": ""}, 400, "not the name of a repository"),
            ({"name": "x/-/y"}, 400, "not the name of a repository"),
            ({"namespace": "ben"}, 403, "may not make repositories there"),
            ({"namespace": "nobody-here"}, 403, "may not make repositories there"),
            ({"namespace": ""}, 400, "not the name of a repository"),
            ({"visibility": "secret"}, 400, "visibility"),
            ({"description": "a\nb"}, 400, "One line of text."),
        ],
    )
    async def test_what_cannot_be(self, desk: Pages, fields: dict[str, str], status: int, text: str) -> None:
        """The form says why, and nothing is made."""
        given = {"namespace": "acme", "name": "fresh", "description": "", "visibility": "private"} | fields
        assert text in await desk.refused("/new", "ada", status, **given)
        await desk.get("/r/acme/fresh", "ada", status=404)

    async def test_what_others_have_looks_like_nothing(self, desk: Pages) -> None:
        """SEC-027: a name in somebody's namespace says the same, whether it is there or not."""
        given = {"namespace": "ada", "description": "", "visibility": "private"}
        seen = [
            (await desk.refused("/new", "ben", 403, name=name, **given)).replace(name, "NAME")
            for name in ("experiments", "never-there")
        ]
        assert seen[0] == seen[1]


class TestCost:
    """What pages ask the database."""

    @pytest.mark.parametrize("who", ["", "ada"])
    @pytest.mark.parametrize(
        "path",
        [WEB, f"{WEB}/-/tags", f"{WEB}/-/tags?q=alpine&sort=-version", f"{WEB}/-/activity", f"{WEB}/-/activity?tag=2"],
    )
    async def test_three_statements(self, pages: Pages, path: str, who: str) -> None:
        """However many tags there are."""
        statements = await pages.cost(path, who)
        assert len(statements) <= STATEMENTS_MAX, "\n\n".join(statements)

    @pytest.mark.parametrize("place", ["readme", "settings", "settings/access", "audit", "settings/delete"])
    async def test_three_statements_of_admins(self, pages: Pages, place: str) -> None:
        """These too."""
        statements = await pages.cost(f"{WEB}/-/{place}", "ada")
        assert len(statements) <= STATEMENTS_MAX, "\n\n".join(statements)

    async def test_an_image(self, pages: Pages) -> None:
        """As many whatever it holds."""
        for path in (f"{WEB}/-/tags/latest", f"{WEB}/-/tags/1.0.0", "/r/acme/charts/site/-/tags/1.0.0"):
            statements = await pages.cost(path)
            assert len(statements) <= STATEMENTS_MAX, "\n\n".join(statements)
