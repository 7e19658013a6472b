"""The pages show what is there, to those who may see it, and nothing on them runs."""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
from collections.abc import Sequence
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from engine.sandbox import areas  # noqa: F401 - registers the tables
from engine.sandbox.database import Database
from engine.sandbox.pages.charts import Curve, Point, curves, figure
from engine.sandbox.runs import history
from tests.sandbox.artifact_writer import ArtifactWriter, canonical_digest, manifest_of, md5_b64
from tests.sandbox.conftest import upsert
from tests.servers import RunningSandbox, send

EVIL = '"><script>alert("x")</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its links, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def links(self) -> list[str]:
        return [attributes["href"] or "" for tag, attributes in self.tags if tag == "a"]


def look(sandbox: RunningSandbox, path: str, key: str | None = None) -> Page:
    """A page that must be there and harmless."""
    headers = {}
    if key is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
    status, body = send("GET", sandbox.url + path, headers=headers)
    assert status == 200, body
    page = Page(body.decode())
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link", "object"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(href.startswith(("/", sandbox.url, "https://example.org")) for href in page.links())
    return page


def write_rows(sandbox: RunningSandbox, project: str, run: str, rows: Sequence[dict[str, Any]]) -> None:
    body = {
        "files": {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps(row) for row in rows]}},
        "complete": True,
        "exitcode": 0,
    }
    assert sandbox.call("POST", f"/files/ann/{project}/{run}/file_stream", body)[0] == 200


@pytest.fixture
def full(sandbox: RunningSandbox, project: str) -> str:
    """A project with one run that has everything, under names that try to break out."""
    upsert(
        sandbox,
        modelName=project,
        name="r",
        displayName=f"run {EVIL}",
        notes=f"noted {EVIL}",
        tags=["baseline", EVIL[:60]],
        config=json.dumps({EVIL: {"value": EVIL}}),
        summaryMetrics='{"loss": NaN}',
    )
    rows = [{"_step": i, f"loss{EVIL}": math.inf if i == 3 else i} for i in range(9)]
    write_rows(sandbox, project, "r", rows)
    writer = ArtifactWriter(sandbox, project)
    files = {f"data/{EVIL.replace('/', '_')}": b"abc"}
    references = {"page": "https://example.org/x", "trap": "javascript://example.org/%0aalert(1)"}
    digests = {path: md5_b64(data) for path, data in files.items()} | {name: name for name in references}
    description = f"described {EVIL}"
    artifact = writer.create("ds", canonical_digest(digests), runName="r", description=description)["id"]
    births = writer.upload(artifact, files)
    contents: dict[str, Any] = {
        path: {"digest": digests[path], "size": len(data), "birthArtifactID": births[path]}
        for path, data in files.items()
    }
    contents |= {name: {"digest": name, "ref": ref, "size": 0} for name, ref in references.items()}
    writer.upload_manifest(artifact, manifest_of(contents))
    writer.commit(artifact)
    return project


def test_the_front_page_counts_what_is_in_each_project(sandbox: RunningSandbox, full: str) -> None:
    page = look(sandbox, "/")
    assert f"/ann/{full}" in page.links()
    assert re.search(rf"{full} 1 9 1 \d+ B ", page.text)
    assert re.search(r"[\d,]+ runs [\d,]+ rows [\d,]+ artifacts [\d.,]+ \w+ stored", page.text)


def test_a_project_shows_its_runs_and_collections(sandbox: RunningSandbox, full: str) -> None:
    page = look(sandbox, f"/ann/{full}")
    assert f"/ann/{full}/runs/r" in page.links()
    assert f"/ann/{full}/artifacts/dataset/ds/v0" in page.links()
    assert "finished 9" in page.text
    assert "ds dataset 1 v0 latest 3 3 B" in page.text


def test_a_run_shows_curves_config_notes_tags_and_artifacts(sandbox: RunningSandbox, full: str) -> None:
    page = look(sandbox, f"/ann/{full}/runs/r")
    assert "svg" in [tag for tag, _ in page.tags]
    assert all(text in page.text for text in (f"run {EVIL}", f"noted {EVIL}", "baseline", f"loss{EVIL}"))
    assert json.dumps(EVIL) in page.text
    assert "ds:v0 dataset logged 3 3 B" in page.text


def test_an_artifact_shows_its_files_to_download(sandbox: RunningSandbox, full: str) -> None:
    page = look(sandbox, f"/ann/{full}/artifacts/dataset/ds/latest")
    (download,) = [href for href in page.links() if "/storage/" in href]
    assert send("GET", download) == (200, b"abc")
    assert "https://example.org/x" in page.links()
    assert "javascript://example.org/%0aalert(1)" in page.text
    assert f"described {EVIL}" in page.text
    assert f"/ann/{full}/runs/r" in page.links()


@pytest.mark.parametrize(
    "path", ["nothing", "{}/runs/no", "{}/artifacts/dataset/no/v0", "{}/artifacts/dataset/ds/v9"]
)
def test_what_is_not_there_is_not_found(sandbox: RunningSandbox, full: str, path: str) -> None:
    assert send("GET", f"{sandbox.url}/ann/{path.format(full)}")[0] == 404


def test_with_a_login_a_user_sees_what_they_may_see(sandbox: RunningSandbox, full: str) -> None:
    headers = {"Authorization": "Basic " + base64.b64encode(f"api:{sandbox.keys['bob']}".encode()).decode()}
    for path in ("", "/runs/r", "/artifacts/dataset/ds/v0"):
        assert send("GET", f"{sandbox.url}/ann/{full}{path}", headers=headers)[0] == 404
    assert f"/ann/{full}" not in look(sandbox, "/", sandbox.keys["bob"]).links()
    assert f"/ann/{full}" in look(sandbox, "/", sandbox.keys["ann"]).links()


def test_pages_under_a_foreign_name_want_a_login(sandbox: RunningSandbox) -> None:
    """A page of the web must not read this one through a name that resolves to loopback."""
    connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"))
    with closing(connection):
        connection.request("GET", "/", headers={"Host": "rebound.example"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 401
        assert answer.getheader("WWW-Authenticate", "").startswith("Basic")


# -- curves


async def drawn(
    tmp_path: Path, rows: Sequence[str], definitions: Sequence[dict[str, Any]] = ()
) -> list[Curve]:
    """The curves of ``loss`` and ``val/acc`` in a run with these rows."""
    db = Database(tmp_path / "records.sqlite")
    db.execute("PRAGMA foreign_keys=OFF")
    history.write(db, 1, 0, rows)
    found = await curves(db, 1, ["loss", "val/acc"], definitions)
    db.close()
    return found


@pytest.mark.anyio
async def test_a_curve_is_drawn_over_the_axis_that_its_metric_was_defined_with(tmp_path: Path) -> None:
    rows = [
        json.dumps({"_step": i, "epoch": i // 2, "mlflow/step": 9 - i, "loss": i, "val/acc": i})
        for i in range(4)
    ]
    everything: list[dict[str, Any]] = [{"1": "mlflow/step", "6": []}, {"2": "*", "5": 1, "6": [1]}]
    own = [*everything, {"1": "epoch"}, {"1": "val/acc", "5": 3}]
    loss, accuracy = await drawn(tmp_path, rows, own)
    assert loss == Curve("loss", "mlflow/step", [Point(6, 3), Point(7, 2), Point(8, 1), Point(9, 0)])
    assert accuracy == Curve("val/acc", "epoch", [Point(0, 0), Point(0, 1), Point(1, 2), Point(1, 3)])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "definitions", [[], [{"2": "other/*", "5": 1}], [{"2": "*", "5": 7}], [{"1": "loss", "5": 1}]]
)
async def test_without_a_usable_definition_it_is_drawn_over_the_step(
    tmp_path: Path, definitions: list[dict[str, Any]]
) -> None:
    (loss,) = await drawn(tmp_path, ['{"_step": 3, "loss": 1}'], definitions)
    assert loss == Curve("loss", "_step", [Point(3, 1)])


@pytest.mark.anyio
async def test_a_curve_breaks_where_a_value_is_not_finite(tmp_path: Path) -> None:
    values = ["1", "2", "NaN", "3", "Infinity", "4", "5"]
    (loss,) = await drawn(tmp_path, [f'{{"_step": {i}, "loss": {v}}}' for i, v in enumerate(values)])
    picture = figure(loss)
    (path,) = re.findall(r'<path d="([^"]*)"', picture)
    assert (path.count("M"), path.count("L")) == (2, 2)
    assert picture.count("<circle") == 1


def test_a_curve_without_finite_values_says_so() -> None:
    assert "no finite value" in figure(Curve("loss", "_step", [Point(0, math.nan)]))
