"""References to files of other versions, on a server and between servers."""

from __future__ import annotations

import pytest

from engine.records import Namespace
from engine.wandb.artifact_uris import Reference, by_id, of_id


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
