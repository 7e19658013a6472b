"""What a run looks like before it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.records import Code, Namespace, Run
from engine.transfer.context import Context
from engine.wandb.jsontext import clean_text, encode_json, without_passwords
from engine.wandb.mapping import RunMapping, iso_time


def mapped(tmp_path: Path, **fields: Any) -> RunMapping:
    run = Run(**{"id": "run1", "namespace": Namespace("", "exp"), **fields})
    place = Namespace("e", "p")
    return RunMapping(
        run=run, place=place, context=Context(spool=tmp_path), source_uri="mlflow:x", system="mlflow"
    )


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123000Z"),
        (-1, "1969-12-31T23:59:59.999000Z"),
        (10**18, None),
        (None, None),
    ],
)
def test_times_are_written_in_utc_or_not_at_all(milliseconds: int | None, text: str | None):
    assert iso_time(milliseconds) == text


def test_an_end_before_the_start_is_kept_as_it_is_but_lasts_no_negative_time(tmp_path: Path):
    mapping = mapped(tmp_path, started_at=2_000, ended_at=1_000)
    assert mapping.duration_s() == 0
    provenance = json.loads(mapping.config_json())["_import"]["value"]
    assert (provenance["started_at"], provenance["ended_at"]) == (2_000, 1_000)


def test_an_end_that_is_not_known_stays_unknown(tmp_path: Path):
    mapping = mapped(tmp_path, started_at=2_000)
    assert mapping.duration_s() is None
    assert "ended_at" not in json.loads(mapping.config_json())["_import"]["value"]


def test_the_metadata_file_holds_only_what_the_source_knows(tmp_path: Path):
    assert mapped(tmp_path).environment() == {}
    assert mapped(tmp_path, host="h", user="u").environment() == {"host": "h", "username": "u"}


def test_fields_without_a_value_are_not_sent(tmp_path: Path):
    assert set(mapped(tmp_path).upsert("e", "p")) == {
        "name",
        "entity",
        "project",
        "displayName",
        "tags",
        "config",
    }


def test_a_deleted_run_can_be_told_from_the_others(tmp_path: Path):
    assert mapped(tmp_path, deleted=True, tags=("a",)).upsert("e", "p")["tags"] == ["a", "deleted"]


def test_a_huge_config_is_sent_whole_and_told(tmp_path: Path):
    mapping = mapped(tmp_path, config={"big": "x" * 10_000_001})
    assert len(mapping.upsert("e", "p")["config"]) > 10_000_000
    assert mapping.context.losses.counts["config_oversized"] == 1


def test_surrogates_are_paired_or_replaced():
    assert clean_text("\ud83d\ude00 \ud800") == "\U0001f600 \ufffd"


def test_integers_beyond_64_bits_stay_exact():
    assert encode_json({"n": 2**100}) == f'{{"n":{2**100}}}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ada:hunter2@git.example/repo.git", "https://ada:***@git.example/repo.git"),
        ("https://:token@host/x and ssh://git@host/y", "https://:***@host/x and ssh://git@host/y"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("no url: a:b@c", "no url: a:b@c"),
    ],
)
def test_passwords_in_urls_are_not_shown(text: str, shown: str):
    assert without_passwords(text) == shown


def test_a_password_goes_nowhere_and_that_is_told(tmp_path: Path):
    url = "https://ada:hunter2@git.example/repo.git"
    mapping = mapped(tmp_path, code=Code(remote=url), extra={"mlflow_tags": {"mlflow.repo": url}})
    assert "hunter2" not in repr(mapping.upsert("e", "p")) + repr(mapping.environment())
    assert mapping.context.losses.counts["password_redacted"] == 1


def test_what_the_source_lost_is_told_by_the_run_too(tmp_path: Path):
    mapping = mapped(tmp_path)
    mapping.context.lose("text_not_utf8", "run run1", "a tag")
    mapping.context.lose("text_not_utf8", "run other", "a tag")
    assert json.loads(mapping.config_json())["_import"]["value"]["losses"] == [
        {"kind": "text_not_utf8", "detail": "a tag", "count": 1}
    ]
