"""The pictures of the pages: there is one of every page, and each shows what it is named after."""

import re

from registry.api.web.routes import WEB_ROUTES
from tests.web.screenshots import NAMES, NO_PAGES, QUERIES, pictures

ADDED = {"digest": f"sha256:{'a' * 64}", "token": "1", "robot_token": "2"}
READ = {route.spec_id: route for route in WEB_ROUTES if route.method == "GET"}


def test_every_page_has_a_picture() -> None:
    """A page that is added is pictured; a path that asks for a name which nobody has given is a KeyError here."""
    found = {one.name: one for one in pictures(NAMES | ADDED)}
    missing = set(READ) - NO_PAGES - set(found)
    assert not missing, f"add what their paths leave open to NAMES: {missing}"
    assert all("{" not in one.path for one in found.values())


def test_no_two_pictures_are_one_file() -> None:
    """The later one would take the place of the earlier one."""
    names = [one.name for one in pictures(NAMES | ADDED)]
    assert sorted(set(names)) == sorted(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def test_what_is_left_out_is_there() -> None:
    """Nothing is excused that has another name by now."""
    assert set(READ) >= NO_PAGES | set(QUERIES)
