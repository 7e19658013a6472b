"""Media of every kind that the official SDK logs: the value in the history, the file behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import wandb

from tests.sandbox.sdk_media import CLOUD, HTML, PIXELS
from tests.servers import RunningSandbox, send

CLIENT_SCHEME = "wandb-client-artifact://"
OF_CLIENT_ID = """query ($id: ID!) { clientIDMapping(clientID: $id) { serverID entry {
    ... on Artifact { state files { edges { node { name directUrl } } } }
    ... on ArtifactSequence { name latestArtifact { id } } } } }"""


@pytest.fixture(scope="module")
def run(api: wandb.Api, written: Any) -> Any:
    return api.run("ann/sdk/media")


@pytest.fixture(scope="module")
def logged(run: Any) -> dict[str, Any]:
    """All values of the history by key."""
    return {key: value for row in run.scan_history() for key, value in row.items()}


@pytest.fixture(scope="module")
def files(run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The media files of the run."""
    root = tmp_path_factory.mktemp("media")
    contents = {}
    for file in run.files(per_page=5):
        if file.name.startswith("media/"):
            with file.download(str(root)):
                contents[file.name] = (root / file.name).read_bytes()
    return contents


def values_with_files(value: Any) -> Iterator[dict[str, Any]]:
    """Every value that names a file, also inside others."""
    if isinstance(value, Mapping):
        if "sha256" in value:
            yield dict(value)
        for part in value.values():
            yield from values_with_files(part)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("image", {"_type": "image-file", "format": "png", "width": 4, "height": 4, "caption": "gradient"}),
        ("picture", {"_type": "image-file", "format": "png", "width": 4, "height": 4}),
        ("audio", {"_type": "audio-file", "caption": "a tone", "size": 1644}),
        ("video", {"_type": "video-file"}),
        ("html", {"_type": "html-file", "size": len(HTML)}),
        ("cloud", {"_type": "object3D-file"}),
        ("object", {"_type": "object3D-file"}),
        ("molecule", {"_type": "molecule-file"}),
        ("images", {"_type": "images/separated", "count": 2, "width": 4, "height": 4, "format": "png"}),
        ("histogram", {"_type": "histogram", "values": [1, 2], "bins": [0, 0.5, 1]}),
        ("numbers", {"_type": "table-file", "ncols": 4, "nrows": 2, "log_mode": "IMMUTABLE"}),
    ],
)
def test_a_value_keeps_its_form_in_history_and_summary(
    run: Any, logged: dict[str, Any], key: str, expected: dict[str, Any]
) -> None:
    assert expected.items() <= logged[key].items()
    assert run.summary._json_dict[key] == logged[key]


def test_history_keys_tell_the_kind_of_media(run: Any) -> None:
    keys = run.history_keys["keys"]
    for key, kind in {"images": "images/separated", "audio": "audio-file", "numbers": "table-file"}.items():
        assert keys[key]["typeCounts"] == [{"type": kind, "count": 1}]


def test_every_file_that_a_value_names_is_there_byte_for_byte(
    logged: dict[str, Any], files: dict[str, bytes]
) -> None:
    named = list(values_with_files(logged))
    for value in named:
        data = files[value["path"]]
        assert (len(data), hashlib.sha256(data).hexdigest()) == (value["size"], value["sha256"])
    assert files.keys() == {value["path"] for value in named} | set(logged["images"]["filenames"])


def test_files_that_were_logged_by_path_arrive_as_they_were(written: Any, logged: dict[str, Any]) -> None:
    assert {key: logged[key]["sha256"] for key in written["media"]} == written["media"]


def test_content_that_the_sdk_wrote_itself_can_be_read(
    logged: dict[str, Any], files: dict[str, bytes]
) -> None:
    assert files[logged["html"]["path"]].decode() == HTML
    assert json.loads(files[logged["cloud"]["path"]]) == CLOUD


def test_masks_and_boxes_lie_beside_their_image(
    run: Any, logged: dict[str, Any], files: dict[str, bytes]
) -> None:
    value = logged["annotated"]
    assert value["masks"]["truth"]["_type"] == "mask"
    assert files[value["masks"]["truth"]["path"]].startswith(b"\x89PNG")
    (box,) = json.loads(files[value["boxes"]["found"]["path"]])["box_data"]
    assert (box["class_id"], box["scores"]) == (1, {"sure": 0.9})
    labels = run.rawconfig["_wandb"]["mask/class_labels"]
    assert [entry["value"] for entry in labels.values()] == [{"0": "sky", "1": "sea"}]


def test_a_table_is_an_artifact_that_its_client_ids_lead_to(
    sandbox: RunningSandbox, logged: dict[str, Any], files: dict[str, bytes]
) -> None:
    value = logged["numbers"]
    client_id, _, entry = value["artifact_path"].removeprefix(CLIENT_SCHEME).partition("/")
    version = sandbox.graphql(OF_CLIENT_ID, id=client_id)["clientIDMapping"]
    (file,) = [edge["node"] for edge in version["entry"]["files"]["edges"]]
    assert (version["entry"]["state"], file["name"]) == ("COMMITTED", entry)
    status, table = send("GET", file["directUrl"])
    assert status == 200
    assert json.loads(table)["data"] == json.loads(files[value["path"]])["data"]
    sequence_id, _, latest = value["_latest_artifact_path"].removeprefix(CLIENT_SCHEME).partition(":")
    sequence = sandbox.graphql(OF_CLIENT_ID, id=sequence_id)["clientIDMapping"]["entry"]
    assert sequence["name"] == "run-media-numbers"
    assert sequence["latestArtifact"]["id"] == version["serverID"]
    assert latest == f"latest/{entry}"


def test_a_table_reads_back_cell_by_cell(api: wandb.Api, written: Any) -> None:
    table = api.artifact("ann/sdk/run-media-numbers:latest").get("numbers")
    assert table.columns == ["x", "y", "ok", "none"]
    assert table.data == [[1, 0.5, True, None], [2, 0.25, False, None]]


def test_a_table_brings_its_images_along(api: wandb.Api, written: Any) -> None:
    table = api.artifact("ann/sdk/run-media-pictures:v0").get("pictures")
    assert [row[0] for row in table.data] == [0, 1]
    for n, image in table.data:
        assert np.array_equal(np.asarray(image.image), PIXELS + n)


@pytest.mark.parametrize(
    ("key", "panel", "rows"),
    [
        ("line", "wandb/line/v0", [[1, 2.0], [2, 4.0]]),
        (
            "confusion",
            "wandb/confusion_matrix/v1",
            [["cat", "cat", 1], ["cat", "dog", 0], ["dog", "cat", 1], ["dog", "dog", 1]],
        ),
    ],
)
def test_a_custom_chart_is_a_panel_over_a_table(
    run: Any, files: dict[str, bytes], logged: dict[str, Any], key: str, panel: str, rows: list[Any]
) -> None:
    chart = run.rawconfig["_wandb"]["visualize"][key]
    assert (chart["panel_type"], chart["panel_config"]["panelDefId"]) == ("Vega2", panel)
    table = json.loads(files[logged[f"{key}_table"]["path"]])
    assert table["data"] == rows
