"""The examples of W&B's page "Import and export data" run as they are written there, but for the import line.

What the page leaves to the reader (``...``, addresses, keys, names that nothing defines) is filled in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.wandb_pair import api_of
from tests.importers.conftest import EXPERIMENTS, RUNS, A, B
from tests.importers.sdk_project import PROJECT, VERSIONS
from tests.servers import RunningSandbox
from tests.stores import Store

OLD, NEW = "wandb.apis.importers", "engine.importers"

FROM_MLFLOW = """
from wandb.apis.importers.mlflow import MlflowImporter

importer = MlflowImporter(mlflow_tracking_uri="...")

runs = importer.collect_runs()
importer.import_runs(runs)

import mlflow
from wandb.apis.importers.mlflow import MlflowRun

client = mlflow.tracking.MlflowClient(mlflow_tracking_uri)

runs: Iterable[MlflowRun] = []
for run in mlflow_client.search_runs(...):
    runs.append(MlflowRun(run, client))

importer.import_runs(runs)

importer.import_runs(runs, artifacts=False)

from wandb.apis.importers import Namespace

importer.import_runs(runs, namespace=Namespace(entity, project))
"""

BETWEEN_SERVERS = """
from wandb.apis.importers.wandb import WandbImporter
from wandb.apis.importers import Namespace

importer = WandbImporter(
    src_base_url="https://api.wandb.ai",
    src_api_key="your-api-key-here",
    dst_base_url="https://example-target.wandb.io",
    dst_api_key="target-environment-api-key-here",
)

# Imports all runs, artifacts, reports
# from "entity/project" in src to "entity/project" in dst
importer.import_all(namespaces=[
    Namespace(entity, project),
    # ... add more namespaces here
])

importer.import_all(
    namespaces=[Namespace(entity, project)],
    remapping={
        Namespace(entity, project): Namespace(new_entity, new_project),
    }
)

importer.import_all(
    namespaces=[Namespace(entity, project)],
    incremental=False,
)
"""


def as_script(code: str, directory: Path) -> None:
    _run(code, directory)


def in_a_running_loop(code: str, directory: Path) -> None:
    main = "import asyncio\n\nasync def main():\n" + textwrap.indent(code, "    ") + "\nasyncio.run(main())\n"
    _run(main, directory)


def in_a_notebook(code: str, directory: Path) -> None:
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(directory)}}).execute()


def _run(code: str, directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=110,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr


WAYS = [as_script, in_a_running_loop, pytest.param(in_a_notebook, marks=pytest.mark.slow)]
Way = Callable[[str, Path], None]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def defined(**names: Any) -> str:
    return "".join(f"{name} = {value!r}\n" for name, value in names.items())


def test_from_mlflow(
    way: Way, store: Store, target: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = f"mlflow-{way.__name__}"
    # What `wandb login` does for a reader of the page.
    monkeypatch.setenv("WANDB_BASE_URL", target.url)
    monkeypatch.setenv("WANDB_API_KEY", target.api_key)
    code = FROM_MLFLOW.replace(OLD, NEW).replace('"..."', "mlflow_tracking_uri")
    code = code.replace("search_runs(...)", "search_runs(['1', '2'])")
    code = code.replace(
        "import mlflow\n", "import mlflow\nmlflow_client = mlflow.MlflowClient(mlflow_tracking_uri)\n"
    )
    names = defined(mlflow_tracking_uri=store.uri, entity=B, project=project)
    way(f"from typing import Iterable\n{names}{code}", tmp_path)
    assert len(list(api_of(target).runs(f"{B}/{project}"))) == EXPERIMENTS * RUNS
    assert len(list(api_of(target).runs(f"{B}/experiment 0"))) == RUNS


def test_between_servers(way: Way, source: RunningSandbox, target: RunningSandbox, tmp_path: Path) -> None:
    project = f"wandb-{way.__name__}"
    code = BETWEEN_SERVERS.replace(OLD, NEW)
    for placeholder, value in {
        "https://api.wandb.ai": source.url,
        "your-api-key-here": source.api_key,
        "https://example-target.wandb.io": target.url,
        "target-environment-api-key-here": target.api_key,
    }.items():
        assert placeholder in code
        code = code.replace(placeholder, value)
    way(defined(entity=A, project=PROJECT, new_entity=B, new_project=project) + code, tmp_path)
    for path in (f"{A}/{PROJECT}", f"{B}/{project}"):
        assert len(list(api_of(target).runs(path))) == 2 + VERSIONS
        assert len(list(api_of(target).reports(path))) == 2


def test_the_ledger_is_where_the_page_says(
    source: RunningSandbox, target: RunningSandbox, tmp_path: Path
) -> None:
    code = (
        "from engine.importers import Namespace, WandbImporter\n"
        f"WandbImporter({source.url!r}, {source.api_key!r}, {target.url!r}, {target.api_key!r})"
        f".import_runs(namespaces=[Namespace({A!r}, {PROJECT!r})], "
        f"remapping={{Namespace({A!r}, {PROJECT!r}): Namespace({B!r}, 'told')}}, ids=['training'])"
    )
    as_script(code, tmp_path)
    (line,) = (tmp_path / ".transfer-engine" / "run_successes.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["src_entity"], told["dst_entity"], told["dst_project"], told["run_id"]) == (
        A,
        B,
        "told",
        "training",
    )
