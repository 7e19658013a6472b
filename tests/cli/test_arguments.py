"""What words on the command line mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from engine.cli.arguments import pairs, secret, size, time_ms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", 1_000),
        ("1k", 1_000),
        ("1kB", 1_000),
        ("256MiB", 256 * 2**20),
        ("1.5 GB", 1_500_000_000),
        ("2g", 2_000_000_000),
        ("1TiB", 2**40),
    ],
)
def test_a_size_has_decimal_and_binary_units(text: str, expected: int):
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "big", "10 MBit", "-5", "1.2.3", "5ib", "0", "0.5"])
def test_what_is_no_size_is_refused_with_an_example(text: str):
    with pytest.raises(typer.BadParameter, match="256MiB"):
        size(text)


def test_a_date_without_a_zone_is_utc():
    assert time_ms("2026-01-31") == 1_769_817_600_000
    assert time_ms("2026-01-31T01:00:00+01:00") == 1_769_817_600_000
    with pytest.raises(typer.BadParameter, match="no date"):
        time_ms("yesterday")


def test_words_come_as_they_are_or_from_a_file(tmp_path: Path):
    listed = tmp_path / "ids"
    listed.write_text("b\n\n  c d \nb\n")
    assert words(["a", f"@{listed}", "a"], "--run") == ("a", "b", "c d")
    with pytest.raises(typer.BadParameter, match="cannot read"):
        words([f"@{tmp_path}/nothing"], "--run")
    listed.write_text("\n")
    with pytest.raises(typer.BadParameter, match="names nothing"):
        words([f"@{listed}"], "--run")


def test_pairs_split_at_the_last_equals_sign():
    assert pairs(["a=b", "s3://x?y=z=file:///w"], "--remap") == {"a": "b", "s3://x?y=z": "file:///w"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(typer.BadParameter, match="OLD=NEW"):
            pairs([wrong], "--remap")


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_KEY", "value")
    assert secret("SOME_KEY", "--dest-api-key-env") == "value"
    assert secret(None, "--dest-api-key-env") is None
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(typer.BadParameter, match="SOME_KEY is not set"):
        secret("SOME_KEY", "--dest-api-key-env")
