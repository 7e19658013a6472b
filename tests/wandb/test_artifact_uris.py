"""References to files of other versions, on a server and between servers."""

from __future__ import annotations

import pytest

from engine.records import Namespace
from engine.wandb.artifact_uris import CLIENT, Reference, by_id, client_ids_in, ids_in, of_id, renamed


def test_an_id_of_a_server_is_told_in_hex():
    assert of_id("QXJ0aWZhY3Q6MTc=", "deep/file") == "wandb-artifact://41727469666163743a3137/deep/file"
    assert by_id("wandb-artifact://41727469666163743a3137/deep/file") == ("QXJ0aWZhY3Q6MTc=", "deep/file")


@pytest.mark.parametrize(
    "uri", ["s3://bucket/key", "wandb-artifact://abc/odd", "wandb-client-artifact://ab/c"]
)
def test_other_uris_have_no_id(uri: str):
    assert by_id(uri) is None


@pytest.mark.parametrize("path", ["file", "deep/file:v2/with spaces", "ü/\n"])
@pytest.mark.parametrize("project", ["plain", "with spaces/and:colons"])
def test_a_name_comes_back_as_it_was(project: str, path: str):
    reference = Reference(Namespace("team", project), "data.set-1", 12, path)
    assert Reference.of(str(reference)) == reference
    assert reference.version == "data.set-1:v12"


def test_an_id_is_no_name_and_the_other_way_round():
    assert Reference.of("wandb-artifact://41727469666163743a3137/deep/file") is None
    assert by_id(str(Reference(Namespace("team", "p"), "c", 0, "f"))) is None


def test_an_id_that_is_not_in_base64_is_an_error():
    with pytest.raises(ValueError, match="no id of an artifact"):
        of_id("!", "file")


BY_ID = "wandb-artifact://41727469666163743a3137"


def test_versions_are_found_in_any_text():
    text = f'["{BY_ID}/x", "see {BY_ID}, wandb-artifact://t/p/c:v1/f, {CLIENT}{"ab" * 16}:latest"]'
    assert ids_in(text) == [BY_ID, BY_ID]
    assert client_ids_in(text) == ["ab" * 16]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wandb-artifact://team/p/weights:v3/a:b.bin", "wandb-artifact://team/p/params:v3/a:b.bin"),
        ("![x](wandb-artifact://team/p/weights:best/x)", "![x](wandb-artifact://team/p/params:champion/x)"),
        ("wandb-artifact://team/weights/other:v3/a", "wandb-artifact://team/weights/other:v3/a"),
        (f"{BY_ID}/weights:best", f"{BY_ID}/weights:best"),
        ("s3://weights/weights:best", "s3://weights/weights:best"),
    ],
)
def test_names_and_aliases_may_be_others(old: str, new: str):
    names, aliases = {"weights": "params"}, {"best": "champion"}
    assert renamed(old, lambda name: names.get(name, name), lambda alias: aliases.get(alias, alias)) == new
