"""Files of runs: listed, downloaded whole or not at all, uploaded and read back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import wandb

import engine
from engine.wandb.api import Api, Run
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

RUN = f"{ENTITY}/trained/everything"


@pytest.fixture
async def run(api: Api) -> Run:
    return await api.run(RUN)


async def test_the_list_is_that_of_the_sdk(run: Run, sdk: wandb.Api):
    ours = {file.name: (file.size, file.md5, file.mimetype, file.id) async for file in run.files()}
    theirs = {f.name: (f.size, f.md5, f.mimetype, f.id) for f in sdk.run(RUN).files()}
    assert ours == theirs
    assert "data/nothing.bin" in ours


async def test_files_are_chosen_by_name_or_pattern(run: Run, sdk: wandb.Api):
    assert [file.name async for file in run.files(["data/notes.txt"])] == ["data/notes.txt"]
    pattern = [file.name async for file in run.files(pattern="%.json", per_page=1)]
    assert sorted(pattern) == sorted(file.name for file in sdk.run(RUN).files(pattern="%.json"))
    with pytest.raises(engine.ConfigError):
        [file async for file in run.files(["a"], pattern="%")]


async def test_a_download_is_a_path(run: Run, tmp_path: Path):
    """The SDK gives an open text file (E37)."""
    path = await run.file("data/notes.txt").download(tmp_path)
    assert path == tmp_path / "data" / "notes.txt"
    assert path.read_text() == "kept"
    assert await (await run.file("data/notes.txt")).read() == b"kept"


async def test_all_files_arrive_and_nothing_else(run: Run, tmp_path: Path):
    names = [await file.download(tmp_path) async for file in run.files()]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(names)


async def test_a_file_that_is_there_is_looked_at(run: Run, tmp_path: Path):
    """The SDK gives back whatever is there (E37)."""
    target = tmp_path / "data" / "notes.txt"
    await run.file("data/notes.txt").download(tmp_path)
    with pytest.raises(engine.Conflict):
        await run.file("data/notes.txt").download(tmp_path)
    assert await run.file("data/notes.txt").download(tmp_path, exist_ok=True) == target
    target.write_text("else")
    with pytest.raises(engine.CommError, match="another file"):
        await run.file("data/notes.txt").download(tmp_path, exist_ok=True)
    await run.file("data/notes.txt").download(tmp_path, replace=True)
    assert target.read_text() == "kept"


async def test_a_file_that_is_not_there_is_an_error(run: Run, tmp_path: Path):
    """The SDK makes up a file of no bytes (E37)."""
    with pytest.raises(engine.NotFound):
        await run.file("nothing.txt")
    with pytest.raises(engine.CommError):
        await run.file("nothing.txt").download(tmp_path)
    assert [file.name async for file in run.files(["nothing.txt", "data/notes.txt"])] == ["data/notes.txt"]


@pytest.mark.parametrize("wrong", [{"names": "data/notes.txt"}, {"names": [None]}, {"per_page": 0}])
async def test_a_list_that_makes_no_sense_is_refused(run: Run, wrong: dict):
    with pytest.raises(engine.ConfigError):
        [file async for file in run.files(**wrong)]


async def test_bytes_that_are_not_those_announced_do_not_appear(run: Run, tmp_path: Path):
    file = await run.file("data/notes.txt")
    file.md5 = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(engine.IntegrityError):
        await file.download(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out", "a/../../out", "a//b"])
async def test_a_name_that_leads_out_is_refused(run: Run, tmp_path: Path, name: str):
    file = await run.file("data/notes.txt")
    file.name = name
    with pytest.raises(engine.CommError, match="leads out"):
        await file.download(tmp_path / "inner")
    assert list(tmp_path.iterdir()) == []


async def test_an_upload_to_a_run_that_is_over(api: Api, sdk: wandb.Api, tmp_path: Path):
    path = tmp_path / "deep" / "model.bin"
    path.parent.mkdir()
    path.write_bytes(b"\x00\xff" * 50_000)
    run = await api.run(f"{ENTITY}/trained/empty")
    file = await run.upload_file(path, root=tmp_path)
    assert (file.name, file.size) == ("deep/model.bin", 100_000)
    found = sdk.run(f"{ENTITY}/trained/empty").file("deep/model.bin").download(root=str(tmp_path / "back"))
    found.close()
    digest = hashlib.sha256((tmp_path / "back" / "deep" / "model.bin").read_bytes()).hexdigest()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    await file.delete()
    with pytest.raises(engine.NotFound):
        await run.file("deep/model.bin")


async def test_what_is_outside_of_the_root_is_not_uploaded(run: Run, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(engine.ConfigError):
        await run.upload_file(tmp_path / "file", root=tmp_path / "inner")
    with pytest.raises(engine.ConfigError):
        await run.upload_file(tmp_path / "none", root=tmp_path)
