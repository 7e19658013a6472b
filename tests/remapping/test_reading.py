"""A mapping file says what it means, or is refused with every mistake and its line."""

from __future__ import annotations

import pytest

from engine.errors import ConfigError, EngineError, PreflightError
from engine.remapping.reading import parse_mapping

GOOD = r"""
version: 1
namespaces:
  old/vision: new/seeing
  re:old/(.*): new/\1
metrics:
  loss: train/loss
  re:val_(?P<name>.*): val/\g<name>
  val_x: never
references:
  s3://old/: s3://new/
  re:gs://(a|b)/: https://\1.example/
"""


@pytest.mark.parametrize(
    ("section", "name", "becomes"),
    [
        ("namespaces", "old/vision", "new/seeing"),
        ("namespaces", "old/text", "new/text"),
        ("namespaces", "other/text", "other/text"),
        ("metrics", "loss", "train/loss"),
        ("metrics", "loss2", "loss2"),
        ("metrics", "val_acc", "val/acc"),
        ("metrics", "val_x", "val/x"),
        ("references", "s3://old/a/b", "s3://new/a/b"),
        ("references", "s3://older", "s3://older"),
        ("references", "gs://b/c", "https://b.example/c"),
        ("tags", "loss", "loss"),
    ],
)
def test_the_first_rule_that_fits_counts(section: str, name: str, becomes: str):
    assert parse_mapping(GOOD)[section].of(name) == becomes


def test_a_rule_knows_its_line():
    found = parse_mapping(GOOD)["metrics"].find("val_acc")
    assert found is not None
    assert found[0].line == 8


def problems(text: str) -> list[str]:
    with pytest.raises(EngineError) as caught:
        parse_mapping(text, "names.yaml")
    error = caught.value
    return [str(each) for each in (error.errors if isinstance(error, PreflightError) else (error,))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metrics: {a: b}", ["line 1: it does not say its version"]),
        ("version: 2", ["line 1: version 2 is not known"]),
        ("", ["line 1: it does not say its version"]),
        ("version: 1\nmetric:\n  a: b", ["line 2: there is no section 'metric'", "did you mean 'metrics'?"]),
        ("version: 1\ntags:\n  a: b\n  a: c", ["line 4: 'a' stands here again, after line 3"]),
        ("version: 1\ntags: {a: b}\ntags: {c: d}", ["line 3: 'tags' stands here again, after line 2"]),
        ("version: 1\ntags:\n  a:", ["'a' has no new name"]),
        ("version: 1\ntags: [a]", ["line 2: section 'tags' is not made of pairs"]),
        ("version: 1\ntags:\n  re:(: b", ["line 3: 're:(' is no regular expression"]),
        ("version: 1\ntags:\n  re:(a): \\2", ["line 3: '\\\\2' does not fit its pattern: invalid group"]),
        ("version: 1\nnamespaces:\n  a: b/c/d", ["line 3: 'b/c/d' is no place"]),
        ("version: 1\nmetrics:\n  a: c\n  b: c", ["line 4: 'b' and 'a' (line 3) would both become 'c'"]),
        ("version: 1\nmerge: [metric]", ["line 2: there is no section 'metric' to merge"]),
        ("version: 1\ntags: {a: b", ["line 2: expected ',' or '}'"]),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, told: list[str]):
    (problem,) = problems(text)
    assert all(part in problem for part in told), problem


def test_all_mistakes_are_told_at_once():
    found = problems("version: 1\nmetrics:\n  a: c\n  b: c\nusers: 3\nkeys: {}\n")
    assert [part.partition(":")[0] for part in found] == ["line 5", "line 6", "line 4"]


def test_what_is_the_same_may_become_one():
    mapping = parse_mapping("version: 1\nmetrics: {a: c, b: c}\nmerge: [metrics]\nusers: {x: z, y: z}")
    assert mapping["metrics"].of("b") == "c"
    assert mapping["users"].of("y") == "z"


def test_a_file_that_is_not_there_is_a_wrong_request(tmp_path):
    from engine.remapping.reading import read_mapping

    with pytest.raises(ConfigError, match="cannot be read"):
        read_mapping(tmp_path / "names.yaml")


def test_other_rules_are_another_fingerprint_but_other_places_are_not():
    names = parse_mapping("version: 1\nmetrics: {a: b}")
    assert names.fingerprint == parse_mapping("version: 1\nmetrics:\n  a: b").fingerprint
    assert names.fingerprint != parse_mapping("version: 1\nmetrics: {a: c}").fingerprint
    assert names.fingerprint == parse_mapping("version: 1\nmetrics: {a: b}\nnamespaces: {x: y}").fingerprint
