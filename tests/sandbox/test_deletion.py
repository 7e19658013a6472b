"""Records and their bytes go together, whatever happens in between."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from engine.sandbox.storage.blobs import Blobs, Part
from engine.sandbox.storage.s3_errors import S3Error
from tests.sandbox.artifact_writer import COMMIT, ArtifactWriter, canonical_digest, manifest_of, md5_b64
from tests.sandbox.conftest import upsert
from tests.servers import RunningSandbox, running_sandbox, send

RUN_FILES = """mutation($input: CreateRunFilesInput!) { createRunFiles(input: $input) {
    files { id uploadUrl directUrl } } }"""
DELETE_FILES = "mutation($input: DeleteFilesInput!) { deleteFiles(input: $input) { success } }"
TWO_DAYS_S = 2 * 24 * 3600


def uploaded_file(sandbox: RunningSandbox) -> tuple[str, str]:
    """Id and download URL of a file of a new run of user rehearsal."""
    upsert(sandbox, modelName="p", name="r")
    given = {"entityName": "rehearsal", "projectName": "p", "runName": "r", "files": ["a.bin"]}
    (file,) = sandbox.graphql(RUN_FILES, input=given)["createRunFiles"]["files"]
    assert send("PUT", file["uploadUrl"], b"content")[0] == 200
    return file["id"], file["directUrl"]


def blob_count(data_dir: Path) -> int:
    return sum(path.is_file() for path in (data_dir / "objects" / "blobs").rglob("*"))


def test_a_deletion_that_is_refused_keeps_the_bytes(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        identity, url = uploaded_file(sandbox)
        status, _ = sandbox.ask(DELETE_FILES, input={"files": [identity, "bm8gc3VjaA=="]})
        assert status == 404
        assert send("GET", url) == (200, b"content")
        sandbox.graphql(DELETE_FILES, input={"files": [identity]})
        assert send("GET", url)[0] == 404
        assert blob_count(tmp_path) == 0


def test_a_deletion_that_died_after_its_commit_is_finished_at_the_next_start(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        uploaded_file(sandbox)
    with closing(sqlite3.connect(tmp_path / "objects" / "objects.sqlite")) as objects:
        ((key,),) = objects.execute("SELECT key FROM objects").fetchall()
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as records, records:
        records.execute("DELETE FROM run_files")
        records.execute("INSERT INTO doomed_objects VALUES (?)", (key,))
    with running_sandbox(tmp_path):
        assert blob_count(tmp_path) == 0
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as records:
        assert records.execute("SELECT count(*) FROM doomed_objects").fetchone() == (0,)


def test_artifacts_that_nobody_commits_within_a_day_go_at_the_next_start(tmp_path: Path) -> None:
    files = {name: name.encode() for name in ("old", "new")}
    with running_sandbox(tmp_path) as sandbox:
        writer = ArtifactWriter(sandbox, "p", entity="rehearsal")
        writer.log("ds", {"kept": b"kept"})
        begun = {}
        for name, data in files.items():
            begun[name] = writer.create("ds", canonical_digest({name: md5_b64(data)}))["id"]
            writer.upload(begun[name], {name: data})
            contents = {
                name: {"digest": md5_b64(data), "size": len(data), "birthArtifactID": begun[name]},
            }
            writer.upload_manifest(begun[name], manifest_of(contents))
    assert blob_count(tmp_path) == 6
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as records, records:
        digest = canonical_digest({"old": md5_b64(b"old")})
        age_ms = TWO_DAYS_S * 1000
        records.execute("UPDATE artifacts SET created_ms = created_ms - ? WHERE digest = ?", (age_ms, digest))
        records.execute(
            "UPDATE artifacts SET created_ms = created_ms - ? WHERE state = 'COMMITTED'", (age_ms,)
        )
    with running_sandbox(tmp_path) as sandbox:
        writer = ArtifactWriter(sandbox, "p", entity="rehearsal")
        assert blob_count(tmp_path) == 4
        assert writer.commit(begun["new"])["versionIndex"] == 1
        assert writer.refused(COMMIT, {"artifactID": begun["old"]})[0] == 404
        assert writer.version_of("ds:v0") == 0
        again = writer.log("ds", {"old": b"old"})
        assert (again["state"], again["versionIndex"]) == ("COMMITTED", 2)


def test_content_that_a_committed_version_uses_survives_its_abandoned_sibling(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        writer = ArtifactWriter(sandbox, "p", entity="rehearsal")
        writer.log("ds", {"a": b"shared"})
        digest = canonical_digest({"b": md5_b64(b"shared")})
        writer.upload(writer.create("ds", digest)["id"], {"b": b"shared"})
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as records, records:
        records.execute("UPDATE artifacts SET created_ms = 0")
    with running_sandbox(tmp_path) as sandbox:
        files = sandbox.graphql("""{ project(name: "p") { artifact(name: "ds:v0") {
            files { edges { node { directUrl } } } } } }""")["project"]["artifact"]["files"]
        assert send("GET", files["edges"][0]["node"]["directUrl"]) == (200, b"shared")


def begin_upload(blobs: Blobs, key: str, data: bytes) -> str:
    upload = blobs.create_upload(key)
    with blobs.receive() as body:
        body.write(data)
        blobs.keep_part(key, upload, 1, body)
    return upload


def test_multipart_uploads_that_nothing_came_for_are_dropped(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    old, new = begin_upload(blobs, "old", b"1"), begin_upload(blobs, "new", b"2")
    long_ago = time.time() - TWO_DAYS_S
    os.utime(tmp_path / "incoming" / old, (long_ago, long_ago))
    (tmp_path / "incoming" / "completed-but-not-removed").mkdir()
    (tmp_path / "incoming" / "completed-but-not-removed" / "1").write_bytes(b"3")
    blobs.drop_abandoned(time.time() - TWO_DAYS_S / 2)
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == [new]
    part = Part(1, "c4ca4238a0b923820dcc509a6f75849b")
    with pytest.raises(S3Error, match="NoSuchUpload"):
        blobs.complete_upload("old", old, [part])
    blobs.complete_upload("new", new, [Part(1, "c81e728d9d4c2f636f067f89cc14862c")])
    assert blobs.read("new") == b"2"
    blobs.close()


def test_bytes_that_no_object_names_are_dropped(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    kept = blobs.put("k", b"kept").path
    gone = blobs.put("g", b"gone").path
    with closing(sqlite3.connect(tmp_path / "objects.sqlite")) as objects, objects:
        objects.execute("DELETE FROM objects WHERE key = 'g'")
    blobs.drop_abandoned(time.time())
    assert (kept.exists(), gone.exists()) == (True, False)
    blobs.close()
