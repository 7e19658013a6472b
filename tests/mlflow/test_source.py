"""The three kinds of store that are read without a server tell what MLflow's own client tells."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from engine.errors import ConfigError
from engine.mlflow.source import MlflowSource
from engine.protocols import SystemOptions
from engine.records import Selection
from tests.conformance import SourceConformance, context, read_blob
from tests.mlflow.reading import ALL, everything, labelled, opened, points_of, runs_of
from tests.mlflow_server import running_mlflow
from tests.postgresql import running_postgresql
from tests.stores import Sql, Store, copied_to_postgresql, file_store, ordinary_store, sqlite_store

__all__ = ["context"]

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return ordinary_store(sqlite_store(tmp_path_factory.mktemp("sqlite")))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return ordinary_store(file_store(tmp_path_factory.mktemp("files")))


@pytest.fixture(scope="module")
def postgresql(sqlite: Store) -> Generator[Store]:
    with TemporaryDirectory(prefix="postgresql-") as place, running_postgresql(Path(place)) as uri:
        yield copied_to_postgresql(sqlite, uri.replace("postgresql:", "postgresql+psycopg:"))


@pytest.fixture(scope="module")
def served(sqlite: Store) -> Generator[str]:
    with running_mlflow(sqlite.uri, sqlite.served) as server:
        yield server.url


@pytest.fixture(params=["sqlite", "files", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Store)
    return found


def reaching_artifacts(store: Store) -> SystemOptions:
    """The server's artifacts are in a directory here."""
    return SystemOptions(artifact_roots={"mlflow-artifacts:": str(store.served)})


class TestSqlite(SourceConformance):
    @pytest.fixture
    def source(self, sqlite: Store) -> MlflowSource:
        return MlflowSource(sqlite.uri, reaching_artifacts(sqlite))


class TestFiles(SourceConformance):
    @pytest.fixture
    def source(self, files: Store) -> MlflowSource:
        return MlflowSource(files.uri, reaching_artifacts(files))


class TestPostgresql(SourceConformance):
    @pytest.fixture
    def source(self, postgresql: Store) -> MlflowSource:
        return MlflowSource(postgresql.uri, reaching_artifacts(postgresql))


class TestServer(SourceConformance):
    @pytest.fixture
    def source(self, served: str) -> MlflowSource:
        return MlflowSource(served, SystemOptions())


async def test_every_run_is_as_mlflow_tells_it(store: Store):
    async with opened(store.uri) as source:
        runs = {run.id: (run, await points_of(source, run)) for run in await runs_of(source)}
    client = MlflowClient(store.uri)
    experiments = client.search_experiments(view_type=ViewType.ALL)
    witnessed = [
        run
        for experiment in experiments
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    ]
    names = {experiment.experiment_id: experiment.name for experiment in experiments}
    assert runs.keys() == {run.info.run_id for run in witnessed}
    for witness in witnessed:
        run, points = runs[witness.info.run_id]
        assert run.name == witness.info.run_name
        assert run.namespace.project == names[witness.info.experiment_id]
        assert run.source_state == witness.info.status
        assert (run.started_at, run.ended_at) == (witness.info.start_time, witness.info.end_time)
        assert run.user == "ada"
        assert run.config == witness.data.params
        assert {**run.labels, **run.extra["mlflow_tags"]} == witness.data.tags
        assert run.summary == witness.data.metrics
        assert points == sorted(
            (metric.key, metric.step, metric.timestamp, metric.value)
            for key in witness.data.metrics
            for metric in client.get_metric_history(run.id, key)
        )
        assert [(each.name, each.digest, each.context) for each in run.inputs] == sorted(
            (
                each.dataset.name,
                each.dataset.digest,
                next((tag.value for tag in each.tags if tag.key == "mlflow.data.context"), None),
            )
            for each in witness.inputs.dataset_inputs
        )


async def test_nested_runs_are_grouped_by_their_root(store: Store):
    async with opened(store.uri) as source:
        runs = await labelled(source)
    root = runs["sweep"]
    assert root.group == runs["sweep-0"].group == runs["grandchild"].group == "sweep 1"
    assert runs["grandchild"].parent_id == runs["sweep-0"].id
    assert runs["bare"].group == "served"


async def test_an_experiment_becomes_a_project(store: Store):
    async with opened(store.uri) as source:
        (project,) = [p async for p in source.projects(Selection(projects=("vision/resnet",)))]
    assert (project.namespace.entity, project.namespace.project) == ("", "vision/resnet")
    assert project.description == "Does *ResNet* scale?"
    assert project.labels["team"] == "vision"
    assert project.created_at is not None


@pytest.mark.parametrize("name", ["vision/resnet", "re:vision/.*", "re:(?i)VISION/.*"])
async def test_experiments_are_chosen_by_name_or_regular_expression(store: Store, name: str):
    async with opened(store.uri) as source:
        found = [p.namespace.project async for p in source.projects(Selection(projects=(name,)))]
    assert found == ["vision/resnet"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Vision/Resnet", "did you mean 'vision/resnet'"),
        ("resnet", "did you mean 'vision/resnet'"),
        ("re:nothing.*", "it has 'Default'"),
        ("re:(", "no regular expression"),
    ],
)
async def test_a_wrong_experiment_is_refused_with_a_hint(store: Store, name: str, hint: str):
    async with opened(store.uri) as source:
        with pytest.raises(ConfigError) as caught:
            [p async for p in source.projects(Selection(projects=(name,)))]
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("params.epochs = '3' and attributes.status = 'KILLED'", {"text-killed"}),
        (
            "tags.release = 'yes' and metrics.`bleu score` > 31",
            {"text-finished", "text-failed", "text-killed"},
        ),
        ("attributes.run_name LIKE 'trial %' and params.lr != '1.0'", {"sweep-1", "sweep-2"}),
        ("dataset.name = 'train-set'", {"datasets"}),
        ("dataset.context = 'training'", {"datasets"}),
        ("params.epochs IS NULL and tags.trial = '1'", {"sweep-1"}),
        ("attributes.start_time > 1700000001123", {"sweep-2"}),
    ],
)
async def test_a_filter_takes_the_runs_that_mlflow_would(store: Store, where: str, expected: set[str]):
    async with opened(store.uri) as source:
        assert (await labelled(source, Selection(filter=where))).keys() == expected
    client = MlflowClient(store.uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    assert {run.data.tags["label"] for run in client.search_runs(ids, where)} == expected


@pytest.mark.parametrize("where", ["params.lr >", "metrics.loss LIKE 'x'", "colour = 'red'", "a OR b"])
async def test_a_wrong_filter_is_refused_before_anything_starts(store: Store, where: str):
    async with opened(store.uri) as source:
        with pytest.raises(ConfigError, match="filter"):
            [p async for p in source.projects(Selection(filter=where))]


async def test_a_limit_and_a_date_cut_the_list(store: Store):
    async with opened(store.uri) as source:
        assert len([p async for p in source.projects(Selection())]) == 4
        (project,) = [p async for p in source.projects(Selection(projects=("vision/resnet",)))]
        assert len([run async for run in source.runs(project, Selection(limit=2))]) == 2
    async with opened(store.uri) as source:
        assert (await labelled(source, Selection(since=1_700_000_001_123))).keys() == {"sweep-1", "sweep-2"}


async def test_runs_can_be_chosen_by_id_and_state_but_not_ordered(store: Store):
    async with opened(store.uri) as source:
        everything = await labelled(source)
        one = next(iter(everything.values()))
        chosen = await labelled(source, Selection(ids=(one.id,)))
        states = await labelled(source, Selection(states=("running", "FAILED")))
        with pytest.raises(ConfigError, match="cannot list its runs in the order"):
            await labelled(source, Selection(order="+created_at"))
    assert [run.id for run in chosen.values()] == [one.id]
    assert states == {
        label: run for label, run in everything.items() if str(run.state) in ("running", "failed")
    }
    assert states


async def test_runs_that_go_on_can_be_left_out(store: Store):
    async with opened(store.uri) as source:
        everything, ended = await labelled(source), await labelled(source, Selection(live=False))
    left = {label for label, run in everything.items() if run.state.is_live}
    assert "still-running" in left
    assert not left & ended.keys()


async def test_artifacts_of_a_run_are_one_artifact_with_a_name_of_its_own(store: Store):
    async with opened(store.uri) as source:
        runs = await labelled(source)
        twins = [runs["sweep-0"], runs["sweep-1"]]
        found = [[a async for a in source.artifacts(run)] for run in [*twins, runs["datasets"]]]
        (first,), (second,), none = found
        assert none == []
        assert first.type == "imported-artifacts"
        assert first.name == f"trial__0-{twins[0].id[:8]}"
        assert "trial 0" in (first.description or "")
        assert first.name != second.name
        (model,) = [e async for e in source.entries(first) if e.path == "model/weights.bin"]
        assert await read_blob(source, model) == bytes(range(256)) * 40
        assert await read_blob(source, model, 10_000) == (bytes(range(256)) * 40)[10_000:]


async def test_params_are_parsed_only_where_that_can_be_undone(store: Store):
    async with opened(store.uri, parse_params=True) as source:
        runs = await labelled(source)
    assert runs["text-killed"].config == {"epochs": 3, "optimizer/name": "adam", "dropout": None}
    for label, run in runs.items():
        raw = {key: str(value) for key, value in run.config.items()}
        client_run = MlflowClient(store.uri).get_run(store.runs[label])
        assert raw == client_run.data.params


async def test_deleted_runs_and_experiments_come_only_on_request(tmp_path: Path):
    store = sqlite_store(tmp_path)
    sql = Sql(store)
    kept = sql.experiment("kept")
    sql.run(kept, "alive")
    sql.run(kept, "dead", deleted=True)
    sql.run(sql.experiment("gone", deleted=True), "dead too", deleted=True)
    async with opened(store.uri) as source:
        assert (await labelled(source, Selection())).keys() == {"alive"}
        found = await labelled(source, ALL)
        assert {label: run.deleted for label, run in found.items()} == {
            "alive": False,
            "dead": True,
            "dead too": True,
        }
        with pytest.raises(ConfigError, match="deleted"):
            await everything(source, Selection(projects=("gone",)))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


class TestWithoutAUri:
    def test_the_environment_comes_first(self, elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////data/x.db")
        assert MlflowSource("", SystemOptions()).uri == "mlflow:sqlite:////data/x.db"

    def test_then_a_file_store_if_there_is_one(self, elsewhere: Path):
        (elsewhere / "mlruns" / "0").mkdir(parents=True)
        (elsewhere / "mlruns" / "0" / "meta.yaml").touch()
        assert MlflowSource("", SystemOptions()).uri == "mlflow:mlruns"

    def test_then_a_database(self, elsewhere: Path):
        (elsewhere / "mlruns").mkdir()
        assert MlflowSource("", SystemOptions()).uri == "mlflow:sqlite:///mlflow.db"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg2://ann:s3cret@db/ml?sslmode=require", "postgresql://ann@db/ml?sslmode=require"),
        ("postgresql://db/ml?user=ann&password=s3cret", "postgresql://db/ml?user=ann"),
        ("mysql+pymysql://ann:s3cret@db:3307/ml", "mysql://ann@db:3307/ml"),
    ],
)
def test_a_password_in_the_uri_is_never_shown(uri: str, shown: str):
    source = MlflowSource(uri, SystemOptions())
    assert source.uri == f"mlflow:{shown}"
    assert "s3cret" not in repr(vars(source))


@pytest.mark.parametrize("uri", ["mssql+pyodbc://db/x", "s3://bucket/x", "sqlite://", "sqlite:///:memory:"])
def test_a_uri_that_cannot_be_read_is_refused(uri: str):
    with pytest.raises(ConfigError):
        MlflowSource(uri, SystemOptions())
