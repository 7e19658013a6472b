"""Which changes on the way can be accepted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from engine.errors import ConfigError
from engine.verify.strict import KINDS, check_kinds


def recorded() -> Iterator[tuple[str, str]]:
    """Each kind that the package names where it records a change, and the file."""
    for path in Path(engine.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in ("lose", "_lose", "Loss"):
                continue
            given = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "kind")]
            for one in given:
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.isidentifier():
                    yield one.value, path.name


def test_every_kind_that_is_recorded_can_be_accepted() -> None:
    found = dict(recorded())
    assert len(found) > 20
    assert {kind: path for kind, path in found.items() if kind not in KINDS} == {}


def test_an_unknown_kind_is_an_error_that_names_the_nearest() -> None:
    check_kinds(["steps_resequenced", "tag_dropped"])
    with pytest.raises(ConfigError, match="no such kind") as raised:
        check_kinds(["step_resequenced"])
    assert "did you mean steps_resequenced" in str(raised.value.remedy)
