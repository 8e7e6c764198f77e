"""A setting that the README does not explain is not finished."""

from pathlib import Path

import pytest

from registry.config import SettingInfo, describe

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("info", describe(), ids=lambda info: info.name)
def test_the_readme_documents_every_setting(info: SettingInfo) -> None:
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    row = next((line for line in rows if f"`{info.name}`" in line), None)
    assert row is not None, f"README.md: no table row for `{info.name}`; `python -m registry.config` prints it"
    assert f"`{info.env}`" in row
    assert f"`{info.default}`" in row


def test_the_readme_names_no_variable_that_does_not_exist() -> None:
    known = {info.env for info in describe()} | {
        "DEPOTRY_CONFIG",
        "DEPOTRY_TOOLS",
        "DEPOTRY_TESTS_REQUIRE_ALL",
        "DEPOTRY_TESTS_PAIR",
        "DEPOTRY_TESTS_OPERATIONS",
        "DEPOTRY_TESTS_KILLS",
    }
    words = README.read_text(encoding="utf-8").replace("`", " ").replace("=", " ").split()
    named = {word.strip(".,;:()|") for word in words if word.startswith("DEPOTRY_")}
    assert named - {"DEPOTRY_…", "DEPOTRY_"} <= known
