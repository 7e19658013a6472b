"""Names that W&B takes, from names that it does not."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wandb.sdk.lib.paths import validate_relpath

from engine.records import Namespace
from engine.wandb import names

text = st.text(max_size=300)


@given(text)
def test_a_project_name_is_always_legal_and_stable(name: str):
    legal = names.project_name(name)
    assert 0 < len(legal) <= 128
    assert not re.search(r"[/\\#?%:\x00-\x1f]", legal)
    assert names.project_name(legal) == legal


@given(text.filter(bool))
def test_a_run_id_is_always_legal_and_stable(source_id: str):
    legal = names.run_id(source_id)
    assert 0 < len(legal) <= 128
    assert not re.search(r"[:;,#?/']", legal)
    assert legal == legal.strip()
    assert names.run_id(legal) == legal


@given(text)
def test_an_artifact_name_is_always_legal_and_stable(name: str):
    legal = names.artifact_name(name)
    assert re.fullmatch(r"[a-zA-Z0-9_\-.]{1,128}", legal)
    assert names.artifact_name(legal) == legal


@pytest.mark.parametrize("name", ["vision", "Größe & co", "a b", "0" * 32, "x" * 128])
def test_a_legal_project_name_is_never_touched(name: str):
    assert names.project_name(name) == name


@pytest.mark.parametrize("name", ["/Users/me/exp", "a#b", "100%", "C:\\runs", "x" * 129, "", "..", " pad "])
def test_an_illegal_project_name_becomes_a_readable_slug_with_a_hash(name: str):
    assert re.search(r"-[0-9a-f]{8}$", names.project_name(name))


def test_different_illegal_names_never_meet():
    assert names.project_name("a/b") != names.project_name("a:b")


def test_projects_that_would_collide_all_get_a_suffix_whatever_their_order():
    sources = [
        Namespace("", "Vision"),
        Namespace("", "vision"),
        Namespace("w", "vision"),
        Namespace("", "text"),
    ]
    given_names = names.project_names(sources)
    assert len({name.casefold() for name in given_names.values()}) == len(sources)
    assert given_names[Namespace("", "text")] == "text"
    assert all(given_names[source] != source.project for source in sources[:3])
    random.Random(1).shuffle(sources)
    assert names.project_names(sources) == given_names


def test_only_keys_that_shadow_internals_are_renamed():
    keys = ["loss", "train/acc", "_step", "_private", "", "ключ", "a.b"]
    renamed = names.escaped_keys(keys, {"_step", "_wandb"}, "mlflow")
    assert renamed == {"_step": "mlflow/_step", "": "mlflow/empty-key"}


def test_a_renamed_key_keeps_clear_of_a_key_that_has_its_new_name():
    keys = ["_step", "mlflow/_step"]
    renamed = names.escaped_keys(keys, {"_step"}, "mlflow")
    assert set(renamed) == {"_step"}
    assert renamed["_step"] not in keys


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.", "a\0b"])
def test_a_path_that_leaves_its_directory_is_not_safe(path: str):
    assert not names.is_safe_path(path)


@pytest.mark.parametrize("path", ["a", "a/b.txt", "ünï/код\n.bin", "...", "CON", "C:x", "trailing. "])
def test_odd_names_that_stay_inside_are_safe(path: str):
    assert names.is_safe_path(path)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("a/b.txt", "a/b.txt"),
        ("time 12:30:59", "time 12:30:59"),
        ("back\\slash", "back\\slash"),
        ("C:drive", "C%3Adrive"),
        ("\\root", "%5Croot"),
        ("a\\..\\b", "a%5C..%5Cb"),
    ],
)
def test_a_path_is_written_so_that_the_official_client_downloads_it(path: str, written: str):
    assert names.downloadable_path(path) == written
    assert validate_relpath(names.downloadable_path(path)) == written


@pytest.mark.parametrize(
    ("alias", "fits"), [("best", True), ("v3", False), ("v3x", True), ("a/b", False), ("", False)]
)
def test_an_alias_must_not_look_like_a_version(alias: str, fits: bool):
    assert names.is_alias(alias) is fits
