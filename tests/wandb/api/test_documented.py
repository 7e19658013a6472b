"""``docs/api.md`` names a test for each behaviour: they exist, and no behaviour is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs" / "api.md").read_text().partition("## Where each behaviour is shown")[2]


def test_every_test_that_is_named_exists():
    here = ""
    for name in re.findall(r"`([\w/…]*(?:test_\w+\.py)?(?:::test_\w+)?)`", TABLE):
        file, _, function = name.partition("::")
        if not (file.endswith(".py") or file == "…"):
            continue
        here = here if file == "…" else file
        path = ROOT / here if here.startswith("tests/") else Path(__file__).parent / here
        assert path.is_file(), name
        assert not function or f"def {function}(" in path.read_text(), name


def test_every_behaviour_of_the_sdk_has_a_row():
    rows = re.findall(r"^\| (E\d+(?:, E\d+)*) \|", TABLE, re.MULTILINE)
    assert [number for row in rows for number in row.split(", ")] == [f"E{n}" for n in range(1, 53)]
