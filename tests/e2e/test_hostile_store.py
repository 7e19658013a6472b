"""What is hard to move arrives whole, or what became of it is on record; one test a case."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.transfer.options import Result
from tests import hostile
from tests.e2e.transfers import Target, migrate
from tests.hostile import INF, NAN
from tests.sdk_reader import SdkReader, SdkRun, sha256
from tests.servers import RunningSandbox
from tests.stores import BEGAN, Point, Store

UNREACHABLE = {"H73-bucket", "H73-other-host", "H73-no-server", "H73-unknown-scheme"}


@dataclass(frozen=True)
class Moved:
    """A hostile store after its transfer."""

    store: Store
    result: Result
    runs: dict[str, SdkRun]

    def __getitem__(self, label: str) -> SdkRun:
        return self.runs[self.store.runs[label]]

    def id(self, label: str) -> str:
        return self.store.runs[label]


@pytest.fixture(scope="module")
def store(stores: Path) -> Store:
    return hostile.hostile_store(stores / "hostile")


@pytest.fixture(scope="module")
def moved(store: Store, projects: Iterator[Target], reader: SdkReader) -> Moved:
    target = next(projects)
    result = migrate(store.uri, target, experiments=("hostile",))
    return Moved(store, result, reader.project(target.entity, target.project))


def renamed(key: str) -> str:
    """Keys that W&B has a meaning for, or that are empty, move aside; all others stay as they are."""
    if key in ("_step", "_timestamp", "_runtime", "_wandb", "mlflow/step"):
        return f"mlflow/{key}"
    return key or "mlflow/empty-key"


def logged(value: float, is_nan: bool) -> float:
    """What was logged, where a SQL store keeps NaN as a flag and infinities as the largest float."""
    largest = 1.7976931348623157e308
    return NAN if is_nan else math.copysign(INF, value) if abs(value) == largest else value


def points_of(values: list[Point]) -> Counter[tuple[str, int, str]]:
    return Counter((key, step, repr(value)) for key, step, _, value in values)


# -- the whole -----------------------------------------------------------------------------------


def test_all_active_runs_arrive(moved: Moved) -> None:
    there = {label for label in moved.store.runs if not label.startswith(("H32", "H72"))}
    assert {moved.id(label) for label in there} == set(moved.runs)


def test_only_what_cannot_be_read_is_reported_as_failed(moved: Moved) -> None:
    failed = {failure.run for failure in moved.result.failures}
    assert failed == {moved.id(label) for label in UNREACHABLE}
    assert moved.result.exit_status == 1


def test_every_point_of_every_run_arrives(moved: Moved) -> None:
    """Counted in the database itself, so that no case is forgotten."""
    with closing(sqlite3.connect(moved.store.database)) as database:
        for run_id, run in moved.runs.items():
            query = "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?"
            expected = Counter(
                (renamed(key), step, repr(logged(value, is_nan)))
                for key, step, value, is_nan in database.execute(query, (run_id,))
            )
            assert run.points() == expected, run.name


def test_each_loss_is_counted_and_told_by_the_run_itself(moved: Moved) -> None:
    told = Counter(
        {
            kind: sum(
                loss["count"]
                for run in moved.runs.values()
                for loss in run.provenance.get("losses", ())
                if loss["kind"] == kind
            )
            for kind in moved.result.losses
        }
    )
    of_runs = Counter(
        {
            kind: count
            for kind, count in moved.result.losses.items()
            if all(loss.subject.startswith("run ") for loss in moved.result.loss_examples[kind])
        }
    )
    assert of_runs
    assert {kind: told[kind] for kind in of_runs} == dict(of_runs)


# -- numbers -------------------------------------------------------------------------------------


def test_h1_nan_and_infinities_survive(moved: Moved) -> None:
    values = moved["H1-non-finite"].values("m")
    assert list(map(repr, values)) == ["1.0", "nan", "inf", "-inf", "2.0", "nan"]


def test_h1_nan_and_infinities_survive_in_the_summary(moved: Moved) -> None:
    summary = moved["H1-ends-infinite"].summary
    assert float(summary["up"]) == math.inf
    assert float(summary["down"]) == -math.inf
    assert math.isnan(float(summary["nan"]))


def test_h2_backward_steps_are_sorted(moved: Moved) -> None:
    run = moved["H2-backwards"]
    assert [row["_step"] for row in run.rows] == list(range(10))
    assert run.values("m") == [float(9 - step) for step in range(10)]


@pytest.mark.parametrize("label", ["H3-same-step-later", "H3-same-step-same-time"])
def test_h3_all_values_of_one_step_survive(moved: Moved, label: str) -> None:
    run = moved[label]
    assert run.points() == Counter({("m", 3, repr(float(v))): 1 for v in range(5)})
    assert "steps_resequenced" in run.losses


def test_h3_values_of_one_step_are_in_the_order_of_their_times(moved: Moved) -> None:
    run = moved["H3-same-step-later"]
    assert run.values("m") == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [row["_timestamp"] for row in run.rows] == [(BEGAN + 1_000 * n) / 1000 for n in range(5)]


def test_h3_a_run_that_forgot_its_steps_is_a_curve_again(moved: Moved) -> None:
    run = moved["H3-steps-forgotten"]
    assert run.values("a") == [float(n) for n in range(200)]
    assert run.values("b") == [n + 0.5 for n in range(200)]
    assert [row["_step"] for row in run.rows] == list(range(len(run.rows)))


def test_h5_negative_steps_survive_as_a_column(moved: Moved) -> None:
    run = moved["H5-negative-steps"]
    assert run.points() == points_of([("m", s, 0, float(s)) for s in range(-3, 4)])
    assert "steps_resequenced" in run.losses


def test_h7_steps_of_any_size_are_exact(moved: Moved) -> None:
    steps = {step for _, step, _ in moved["H7-huge-steps"].points()}
    assert steps == {0, 1_700_000_000, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1}


def test_h8_many_keys_and_sparse_keys_arrive(moved: Moved) -> None:
    assert len(moved["H8-many-keys"].points()) == 4_000
    assert len(moved["H8-sparse-keys"].points()) == 2_000


def test_h10_times_of_zero_and_of_the_future_are_kept(moved: Moved) -> None:
    times = [round(row["_timestamp"] * 1000) for row in moved["H10-odd-times"].rows]
    assert times == [0, 2**42, BEGAN, BEGAN - 5]
    assert all(row["_runtime"] >= 0 for row in moved["H10-odd-times"].rows)


def test_h11_floats_are_bit_exact(moved: Moved) -> None:
    values = moved["H11-odd-floats"].values("m")
    assert list(map(repr, values)) == [
        "5e-324",
        "1e-320",
        "0.30000000000000004",
        "1e+308",
        "9007199254740994.0",
    ]


def test_h15_odd_metric_keys_arrive_under_their_own_names(moved: Moved) -> None:
    expected = {(renamed(key), n + 0.5) for n, key in enumerate(hostile.ODD_KEYS)}
    assert {(key, float(value)) for key, _, value in moved["H15-metric-keys"].points()} == expected


def test_h16_keys_that_look_alike_stay_apart(moved: Moved) -> None:
    keys = {key for key, _, _ in moved["H15-metric-keys"].points()}
    assert len(keys) == len(hostile.ODD_KEYS)
    assert {"train/loss", "train_loss", "A", "a", "trail", "trail ", "caf\u00e9", "cafe\u0301"} <= keys


def test_h17_keys_that_w_and_b_has_a_meaning_for_are_moved_aside_on_record(moved: Moved) -> None:
    run = moved["H15-metric-keys"]
    assert "key_renamed" in run.losses
    assert all(isinstance(row["_timestamp"], float) and row["_timestamp"] > 1e9 for row in run.rows)


# -- text ----------------------------------------------------------------------------------------


def test_h15_odd_param_keys_arrive(moved: Moved) -> None:
    config = moved["H15-param-keys"].config
    values = {config[key] for key in config if str(config[key]).startswith("value ")}
    assert values == {f"value {n}" for n in range(len(hostile.ODD_KEYS))}


def test_h15_odd_tag_keys_arrive_unchanged(moved: Moved) -> None:
    labels = moved["H15-tag-keys"].labels
    assert {key: labels[key] for key in hostile.ODD_KEYS} == {
        key: f"value {n}" for n, key in enumerate(hostile.ODD_KEYS)
    }


def test_h22_long_and_many_params_arrive_whole(moved: Moved) -> None:
    config = moved["H22-params"].config
    assert config["long"] == "p" * 20_000
    assert {f"p{n:04}": str(n) for n in range(1_000)}.items() <= config.items()


def test_h24_params_called_like_parts_of_the_config_arrive(moved: Moved) -> None:
    run = moved["H22-params"]
    assert (run.config["value"], run.config["desc"]) == ("1", "2")
    assert "mine" not in (run.config["imported_mlflow_tags"], run.config["_import"])
    assert list(run.config.values()).count("mine") == 2
    assert "config_key_renamed" in run.losses


def test_h25_params_stay_the_strings_that_they_are(moved: Moved) -> None:
    config = moved["H25-param-values"].config
    assert hostile.PARAM_VALUES.items() <= config.items()


def test_h27_tags_of_any_length_and_number_arrive(moved: Moved) -> None:
    labels = moved["H27-tags"].labels
    assert labels["long"] == "t" * 65
    assert labels["very long"] == "u" * 9_000
    assert (labels["empty"], labels["comma"], labels["twin"], labels["twin 2"]) == (
        "",
        "a,b,c",
        "same",
        "same",
    )
    assert {f"tag {n}": f"v{n}" for n in range(300)}.items() <= labels.items()


def test_h28_system_tags_are_kept_as_provenance(moved: Moved) -> None:
    run = moved["H28-system-tags"]
    kept = run.provenance["extra"]["mlflow_tags"]
    assert kept["mlflow.log-model.history"] == '[{"run_id": "x"}]'
    assert run.metadata is not None
    assert run.metadata["git"]["commit"] == "c" * 40


def test_h28_a_password_in_a_repository_url_goes_nowhere(moved: Moved) -> None:
    assert "hunter2" not in repr(moved["H28-system-tags"])


@pytest.mark.parametrize(
    ("label", "notes"),
    [
        ("H29-notes-long", "# " + "markdown " * 120_000),
        ("H29-notes-nul", "before\ufffdafter"),
        ("H29-notes-crlf", "one\r\ntwo\rthree\n"),
        ("H29-notes-unicode", "Ω \U0001f600 \u202e \ufeff \u2028"),
    ],
)
def test_h29_notes_arrive_to_the_letter(moved: Moved, label: str, notes: str) -> None:
    assert moved[label].notes == notes


# -- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [label for label, name in hostile.ODD_NAMES.items() if name])
def test_h30_run_names_are_shown_as_they_are(moved: Moved, label: str) -> None:
    assert moved[f"H30-{label}"].name == hostile.ODD_NAMES[label]


def test_h30_a_run_without_a_name_is_called_by_its_id(moved: Moved) -> None:
    assert moved["H30-name-empty"].name == moved.id("H30-name-empty")


@pytest.mark.parametrize("kind", ["illegal-in-artifact", "duplicate"])
def test_h31_runs_with_equal_or_illegal_names_have_artifacts_of_their_own(moved: Moved, kind: str) -> None:
    first, second = (moved[f"H30-name-{kind}-{n}"].artifacts for n in (1, 2))
    assert [a.files for a in first] == [{"which.txt": sha256(b"1")}]
    assert [a.files for a in second] == [{"which.txt": sha256(b"2")}]
    assert first[0].name.partition(":")[0] != second[0].name.partition(":")[0]


@pytest.mark.parametrize(("status", "state"), hostile.STATES.items())
def test_h65_states_arrive_and_the_word_of_the_source_is_kept(moved: Moved, status: str, state: str) -> None:
    run = moved[f"H65-{status}"]
    assert run.state == state
    assert run.provenance["state"] == status


def test_h70_children_are_kept_whatever_became_of_their_parent(moved: Moved) -> None:
    assert moved["H70-parent-missing"].provenance["parent_id"] == "0" * 32
    assert moved["H70-parent-is-no-id"].provenance["parent_id"] == "not an id\n../x"
    assert moved["H70-parent-deleted"].provenance["parent_id"] == moved.id("H72-deleted-run")
    assert moved["H70-parent-elsewhere"].provenance["parent_id"] == moved.id("H32-0")
    assert moved["H70-own-parent"].provenance["parent_id"] == moved.id("H70-own-parent")
    assert moved["H70-cycle-1"].provenance["parent_id"] == moved.id("H70-cycle-2")


def test_h71_deep_nesting_is_one_group(moved: Moved) -> None:
    deep = [moved[f"H71-depth-{depth:02}"] for depth in range(1, hostile.DEPTH + 1)]
    assert len({run.group for run in deep}) == 1
    assert [run.provenance["parent_id"] for run in deep] == [
        moved.id(f"H71-depth-{depth:02}") for depth in range(hostile.DEPTH)
    ]


def test_h72_what_is_in_the_trash_stays_there(moved: Moved) -> None:
    assert moved.id("H72-deleted-run") not in moved.runs


def test_h72_what_is_in_the_trash_comes_on_request_and_is_marked(
    store: Store, projects: Iterator[Target], reader: SdkReader
) -> None:
    target = next(projects)
    migrate(store.uri, target, include_deleted=True, filter_by="tags.label LIKE 'H72%'")
    runs = reader.project(target.entity, target.project, bytes_too=False)
    assert runs.keys() == {store.runs["H72-deleted-run"], store.runs["H72-in-deleted-experiment"]}
    assert "deleted" in runs[store.runs["H72-deleted-run"]].tags
    assert runs[store.runs["H72-deleted-run"]].provenance["deleted"] is True


def test_h76_an_end_that_is_missing_stays_missing(moved: Moved) -> None:
    assert "ended_at" not in moved["H76-no-end"].provenance
    assert "started_at" not in moved["H76-no-start"].provenance


def test_h76_an_end_before_the_start_is_kept_and_flagged(moved: Moved) -> None:
    run = moved["H76-ends-before-start"]
    assert run.provenance["ended_at"] == BEGAN - 60_000
    assert run.provenance["started_at"] == BEGAN
    assert run.provenance["extra"]["ended_before_started"] is True
    assert run.summary["_runtime"] >= 0


# -- experiments ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_experiment(
    store: Store, sandbox: RunningSandbox, reader: SdkReader
) -> tuple[Result, dict[str, dict[str, SdkRun]]]:
    """Every experiment as a project of its own: the runs of each project."""
    target = Target(sandbox.url, sandbox.api_key, "team-names")
    result = migrate(store.uri, target, filter_by="tags.label LIKE 'H32%'")
    read = {
        name: reader.project("team-names", name, bytes_too=False) for name in reader.projects("team-names")
    }
    return result, read


def test_h32_each_experiment_becomes_a_project_and_its_name_is_kept(
    store: Store, by_experiment: tuple[Result, dict[str, dict[str, SdkRun]]]
) -> None:
    result, read = by_experiment
    assert result.failures == []
    originals = {run_id: run.provenance["project"] for runs in read.values() for run_id, run in runs.items()}
    assert originals == {store.runs[f"H32-{n}"]: name for n, name in enumerate(hostile.ODD_EXPERIMENTS)}
    assert result.losses["project_renamed"] > 0


def test_h32_project_names_are_legal(
    by_experiment: tuple[Result, dict[str, dict[str, SdkRun]]],
) -> None:
    for name in by_experiment[1]:
        assert len(name) <= 128
        assert not set(name) & set("/\\#?%:")


def test_h33_experiments_that_slug_alike_are_never_merged(
    by_experiment: tuple[Result, dict[str, dict[str, SdkRun]]],
) -> None:
    assert all(len(runs) <= 1 for runs in by_experiment[1].values())


# -- files ---------------------------------------------------------------------------------------


def test_h38_to_h40_files_of_any_name_arrive_byte_for_byte(moved: Moved) -> None:
    (artifact,) = moved["H39-odd-files"].artifacts
    expected = {path: sha256(content) for path, content in hostile.ODD_FILES.items()}
    # W&B's client refuses to download what Windows would take for a drive.
    expected["C%3Adrive"] = expected.pop("C:drive")
    assert artifact.files == expected
    assert moved.result.losses["path_renamed"] == 1


def test_h41_more_than_a_thousand_files_arrive(moved: Moved) -> None:
    (artifact,) = moved["H41-many-files"].artifacts
    assert len(artifact.files) == hostile.MANY_FILES
    assert artifact.files["d3/0003.txt"] == sha256(b"3")


def test_h43_an_empty_directory_makes_no_artifact(moved: Moved) -> None:
    assert moved["H43-empty-directory"].artifacts == []


@pytest.mark.parametrize("label", sorted(UNREACHABLE))
def test_h73_a_run_whose_artifacts_are_out_of_reach_still_moves(moved: Moved, label: str) -> None:
    run = moved[label]
    assert run.points() == Counter({("m", 0, "1.0"): 1})
    (failure,) = [f for f in moved.result.failures if f.run == run.id]
    assert failure.side == "source"
    assert "artifact" in failure.item
