"""File stores as they are found: by hand edited, moved, half broken, of all ages."""

from __future__ import annotations

import shutil
from math import inf, isnan
from pathlib import Path

import pytest
import yaml

from engine.errors import CommError, ConfigError
from engine.protocols import Unreadable
from engine.records import MetricPoints, Run, RunState, Selection
from tests.conformance import read_blob
from tests.mlflow.reading import ALL, everything, labelled, losses_of, opened, points_of, runs_of
from tests.stores import Store, file_store, ordinary_store

pytestmark = pytest.mark.anyio

EXPERIMENT = "123"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return ordinary_store(file_store(tmp_path_factory.mktemp("real")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with one experiment; ``write_run`` fills it."""
    root = tmp_path / "mlruns"
    write_meta(root / EXPERIMENT, experiment_id=EXPERIMENT, name="by hand", lifecycle_stage="active")
    return root


def write_meta(directory: Path, **values: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "meta.yaml").write_text(yaml.safe_dump(values))


def write_run(root: Path, run_id: str, files: dict[str, str] | None = None, **meta: object) -> Path:
    run = root / EXPERIMENT / run_id
    write_meta(
        run,
        **{
            "run_id": run_id,
            "run_name": run_id,
            "experiment_id": EXPERIMENT,
            "status": 3,
            "start_time": 1,
            "end_time": 2,
            "lifecycle_stage": "active",
            "user_id": "ada",
            **meta,
        },
    )
    for name, content in (files or {}).items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content.encode())
    return run


async def only_run(root: Path) -> Run:
    async with opened(str(root)) as source:
        (run,) = await runs_of(source)
    return run


class TestMetricFiles:
    async def test_lines_have_two_three_or_five_fields(self, root: Path):
        write_run(root, "a", {"metrics/m": "10 1.5\n11 2.5 7\n12 3.5 8 set d1\n13 4.5 9 a set d1\n"})
        async with opened(str(root)) as source:
            (run,) = await runs_of(source)
            assert await points_of(source, run) == [
                ("m", 0, 10, 1.5),
                ("m", 7, 11, 2.5),
                ("m", 8, 12, 3.5),
                ("m", 9, 13, 4.5),
            ]
        assert run.summary == {"m": 4.5}

    async def test_infinities_and_nan_are_exact_and_no_loss(self, root: Path):
        write_run(root, "a", {"metrics/m": "1 inf 0\n2 -inf 1\n3 1.7976931348623157e+308 2\n4 nan 3\n"})
        async with opened(str(root)) as source:
            (run,) = await runs_of(source)
            *finite, last = [value for *_, value in await points_of(source, run)]
            assert finite == [inf, -inf, 1.7976931348623157e308]
            assert isnan(last)
            assert losses_of(source) == {}

    async def test_the_newest_point_is_the_one_of_the_greatest_step(self, root: Path):
        write_run(root, "a", {"metrics/m": "9 1 5\n1 2 6\n3 3 6\n3 2 6\n"})
        assert (await only_run(root)).summary == {"m": 3.0}

    @pytest.mark.parametrize("line", ["1", "x 1 2", "1 y 2", "1 2 3 4", "1 2 1.5", f"1 2 {2**63}"])
    async def test_a_broken_line_makes_the_run_unreadable_and_is_named(self, root: Path, line: str):
        write_run(root, "bad", {"metrics/deep/m": f"1 1 0\n{line}\n3 3 1\n"})
        write_run(root, "good", {"metrics/m": "1 1 0\n"})
        async with opened(str(root)) as source:
            bad, good = await everything(source)
        assert isinstance(bad, Unreadable)
        assert isinstance(bad.error, CommError)
        assert str(root / EXPERIMENT / "bad/metrics/deep/m") + ", line 2" in str(bad.error)
        assert isinstance(good, Run)

    async def test_many_small_metrics_share_chunks(self, root: Path):
        lines = "".join(f"{s} {s / 3} {s}\n" for s in range(1_000))
        write_run(root, "a", {f"metrics/k/{n:03}": lines for n in range(140)})
        async with opened(str(root)) as source:
            (run,) = await runs_of(source)
            sizes = [len(chunk.batch) async for chunk in source.history(run)]  # type: ignore[union-attr]
            assert sizes == [
                MetricPoints.CHUNK_POINTS,
                MetricPoints.CHUNK_POINTS,
                140_000 % MetricPoints.CHUNK_POINTS,
            ]
            points = await points_of(source, run)
        assert points == [(f"k/{n:03}", s, s, s / 3) for n in range(140) for s in range(1_000)]


class TestRuns:
    async def test_a_key_with_slashes_is_a_path(self, root: Path):
        write_run(
            root, "a", {"params/opt/adam/lr": " 0.1\r\n", "tags/team/x": "", "metrics/val/loss": "1 2 3\n"}
        )
        run = await only_run(root)
        assert run.config == {"opt/adam/lr": " 0.1\r\n"}
        assert run.labels == {"team/x": ""}
        assert run.summary == {"val/loss": 2.0}

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            ("", "empty or no mapping"),
            ("- 1\n- 2\n", "empty or no mapping"),
            ("a: b: c\n", "line 1"),
            ("name: !!python/object/apply:os.system ['touch executed']\n", "no YAML"),
            ("start_time: yesterday\nexperiment_id: '123'\n", "start_time"),
            ("experiment_id: '999'\n", "belongs to experiment 999"),
            ("\x00\x01", "no YAML"),
        ],
    )
    async def test_a_broken_meta_yaml_makes_only_its_run_unreadable(
        self, root: Path, content: str, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        monkeypatch.chdir(tmp_path)
        write_run(root, "good")
        (write_run(root, "bad") / "meta.yaml").write_text(content)
        async with opened(str(root)) as source:
            bad, good = await everything(source)
        assert isinstance(bad, Unreadable)
        assert bad.id == "bad"
        assert named in str(bad.error)
        assert "meta.yaml" in str(bad.error)
        assert isinstance(good, Run)
        assert not (tmp_path / "executed").exists()

    async def test_a_missing_meta_yaml_makes_a_run_unreadable_but_other_folders_are_passed_over(
        self, root: Path
    ):
        (write_run(root, "bad", {"metrics/m": "1 1 1\n"}) / "meta.yaml").unlink()
        (root / EXPERIMENT / "some artifacts").mkdir()
        async with opened(str(root)) as source:
            (bad,) = await everything(source)
        assert isinstance(bad, Unreadable)
        assert bad.id == "bad"

    async def test_what_old_stores_leave_out_stays_empty(self, root: Path):
        write_run(root, "a", run_name=None, end_time=None, status=9, user_id=None)
        run = await only_run(root)
        assert (run.name, run.ended_at, run.user, run.job_type) == (None, None, None, None)
        assert (run.state, run.source_state) == (RunState.FAILED, "9")

    async def test_runs_come_by_start_time(self, root: Path):
        for run_id, start in (("c", 1), ("a", 3), ("b", 3), ("d", 2)):
            write_run(root, run_id, start_time=start)
        write_run(root, "e", start_time=None)
        async with opened(str(root)) as source:
            assert [run.id for run in await runs_of(source)] == ["e", "c", "d", "a", "b"]
            since = Selection(since=2)
            assert [run.id for run in await runs_of(source, since)] == ["d", "a", "b"]

    async def test_links_that_lead_out_of_the_store_are_passed_over_and_declared(
        self, root: Path, tmp_path: Path
    ):
        (tmp_path / "secret").write_text("hunter2")
        run = write_run(root, "a", {"params/real": "1"})
        (run / "params" / "stolen").symlink_to(tmp_path / "secret")
        (run / "params" / "again").symlink_to(run / "params" / "real")
        async with opened(str(root)) as source:
            (found,) = await runs_of(source)
            assert found.config == {"again": "1", "real": "1"}
            assert losses_of(source) == {"symlink_skipped": 1}

    async def test_a_parent_tag_cannot_make_it_read_elsewhere(self, root: Path):
        write_run(root, "a", {"tags/mlflow.parentRunId": "../../../etc"})
        run = await only_run(root)
        assert run.parent_id == "../../../etc"
        assert run.group == "../../../etc"


class TestExperiments:
    async def test_deleted_ones_are_in_the_trash(self, root: Path):
        write_run(root, "a", lifecycle_stage="deleted")
        (root / ".trash").mkdir()
        (root / EXPERIMENT).rename(root / ".trash" / EXPERIMENT)
        write_meta(root / "0", experiment_id="0", name="Default")
        async with opened(str(root)) as source:
            assert [p.id async for p in source.projects(Selection())] == ["0"]
            projects = {p.id: p.deleted async for p in source.projects(ALL)}
            assert projects == {"0": False, EXPERIMENT: True}
            (run,) = await runs_of(source)
        assert run.deleted

    async def test_one_with_a_broken_meta_yaml_goes_by_its_id(self, root: Path):
        write_run(root, "a")
        (root / EXPERIMENT / "meta.yaml").write_text("{")
        async with opened(str(root)) as source:
            (run,) = await runs_of(source)
            assert run.namespace.project == EXPERIMENT
            assert losses_of(source) == {"experiment_unreadable": 1}

    async def test_more_than_a_page_of_them_are_found(self, root: Path):
        for number in range(1_001, 2_010):
            write_meta(root / str(number), experiment_id=str(number), name=f"e{number}")
        async with opened(str(root)) as source:
            names = [p.namespace.project async for p in source.projects(Selection())]
        assert names == ["by hand", *(f"e{number}" for number in range(1_001, 2_010))]


class TestPlace:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [("nowhere", "no such directory"), ("a file", "this is a file"), ("empty", "no MLflow experiments")],
    )
    async def test_a_place_that_is_no_store_is_refused(self, tmp_path: Path, name: str, hint: str):
        (tmp_path / "a file").touch()
        (tmp_path / "empty").mkdir()
        with pytest.raises(ConfigError, match=hint):
            async with opened(str(tmp_path / name)):
                pass

    async def test_a_store_one_level_down_is_pointed_at(self, root: Path):
        with pytest.raises(ConfigError, match=r"did you mean .*mlruns"):
            async with opened(str(root.parent)):
                pass

    async def test_a_moved_store_has_its_artifacts_beside_its_runs(self, real: Store, tmp_path: Path):
        original = Path(real.uri.removeprefix("file://"))
        run_id = real.runs["text-failed"]
        (experiment,) = [path.parent.name for path in original.glob(f"*/{run_id}")]
        moved = tmp_path / "moved"
        shutil.copytree(original, moved)
        meta = moved / experiment / run_id / "meta.yaml"
        meta.write_text(
            yaml.safe_dump(yaml.safe_load(meta.read_text()) | {"artifact_uri": "file:///old/host/artifacts"})
        )
        (moved / experiment / run_id / "artifacts").mkdir(exist_ok=True)
        (moved / experiment / run_id / "artifacts" / "a.txt").write_text("here")
        async with opened(str(moved)) as source:
            run = (await labelled(source))["text-failed"]
            (artifact,) = [a async for a in source.artifacts(run)]
            (entry,) = [e async for e in source.entries(artifact)]
            assert await read_blob(source, entry) == b"here"

    @pytest.mark.parametrize("form", ["file://{}", "file:{}", "{}"])
    async def test_it_is_named_by_a_path_or_a_file_uri(self, root: Path, form: str):
        async with opened(form.format(root)) as source:
            assert source.uri == f"mlflow:{root}"
