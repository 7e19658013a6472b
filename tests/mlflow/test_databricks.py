"""A Databricks workspace, in the forms that Databricks documents.

The workspace here is a server of a few lines: no real one is at hand.
"""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from engine.errors import AuthError, ConfigError, NotFound, Unsupported
from engine.mlflow import databricks
from engine.mlflow.databricks_auth import Workspace, workspace_of
from engine.mlflow.rest import open_rest_store
from engine.mlflow.store import RawExperiment, RawRun, Store
from engine.protocols import SystemOptions
from engine.records import Blob
from engine.transfer.context import Context
from tests.mlflow.local import serving

CONFIG = """
[DEFAULT]
host = default.cloud.databricks.com
token = default-token

[work]
host = https://work.cloud.databricks.com/
token = work-token

[robot]
host = https://robot.azuredatabricks.net
client_id = robot
client_secret = hush
workspace_id = 42
"""


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    path = tmp_path / "databrickscfg"
    path.write_text(CONFIG)
    return str(path)


class TestFindingTheWorkspace:
    def test_the_profile_in_the_uri_comes_first(self, config_file: str) -> None:
        environ = {
            "DATABRICKS_CONFIG_FILE": config_file,
            "DATABRICKS_HOST": "https://env",
            "DATABRICKS_TOKEN": "env",
        }
        assert workspace_of("databricks://work", environ=environ) == Workspace(
            host="https://work.cloud.databricks.com", token="work-token"
        )
        environ["DATABRICKS_CONFIG_PROFILE"] = "robot"
        found = workspace_of("databricks", environ=environ)
        assert (found.host, found.client_id) == ("https://robot.azuredatabricks.net", "robot")
        assert found.workspace_id == "42"

    def test_without_a_profile_the_environment_comes_before_the_default(self, config_file: str) -> None:
        environ = {"DATABRICKS_CONFIG_FILE": config_file}
        assert workspace_of("databricks", environ=environ) == Workspace(
            host="https://default.cloud.databricks.com", token="default-token"
        )
        environ |= {"DATABRICKS_HOST": "env.cloud.databricks.com", "DATABRICKS_TOKEN": "env-token"}
        assert workspace_of("databricks", environ=environ) == Workspace(
            host="https://env.cloud.databricks.com", token="env-token"
        )

    def test_a_profile_inherits_nothing_from_the_default(self, tmp_path: Path) -> None:
        path = tmp_path / "cfg"
        path.write_text("[DEFAULT]\ntoken = secret\n[other]\nhost = other\n")
        with pytest.raises(ConfigError, match="no Databricks token"):
            workspace_of("databricks://other", environ={"DATABRICKS_CONFIG_FILE": str(path)})

    def test_what_is_missing_is_named(self, config_file: str) -> None:
        with pytest.raises(ConfigError, match="no profile 'nosuch'") as failure:
            workspace_of("databricks://nosuch", environ={"DATABRICKS_CONFIG_FILE": config_file})
        assert "work" in str(failure.value)
        with pytest.raises(ConfigError, match="no Databricks host"):
            workspace_of("databricks", environ={"DATABRICKS_CONFIG_FILE": "/no/such/file"})
        with pytest.raises(Unsupported, match="scope:prefix"):
            workspace_of("databricks://scope:prefix", environ={})

    def test_secrets_are_not_shown(self, config_file: str) -> None:
        environ = {"DATABRICKS_CONFIG_FILE": config_file}
        assert "token" not in repr(workspace_of("databricks://work", environ=environ)).replace("token=", "")
        assert "hush" not in repr(workspace_of("databricks://robot", environ=environ))


@dataclass
class FakeWorkspace:
    """Answers as documented; ``points`` per page as Databricks pages histories."""

    url: str = ""
    token: str = "right"
    files: dict[str, bytes] = field(default_factory=lambda: {"a.txt": b"hello", "dir/b%.bin": b"b" * 2_000})
    requests: list[tuple[str, float]] = field(default_factory=list)
    oauth: int = 0
    page: int = 2

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/")
        if path.startswith("signed/"):
            assert "Authorization" not in request.headers
            assert request.headers["x-required"] == "yes"
            return web.Response(body=self.files[path.removeprefix("signed/")])
        if path == "oidc/v1/token":
            self.oauth += 1
            expected = "Basic " + base64.b64encode(b"robot:hush").decode()
            form = await request.post()
            if request.headers["Authorization"] != expected or form["grant_type"] != "client_credentials":
                return web.json_response({"error": "invalid_client"}, status=401)
            return web.json_response({"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"})
        self.requests.append((path, time.monotonic()))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            body = {"error_code": "UNAUTHENTICATED", "message": "Credential was not sent or invalid"}
            return web.json_response(body, status=401)
        answers: dict[str, Callable[[Any], Any]] = {
            "api/2.0/mlflow/experiments/search": self.experiments,
            "api/2.0/mlflow/runs/search": self.runs,
            "api/2.0/mlflow/runs/get": self.run,
            "api/2.0/mlflow/metrics/get-history": self.history,
            "api/2.0/mlflow/artifacts/list": self.artifacts,
            "api/2.0/mlflow/artifacts/credentials-for-read": self.credentials,
        }
        if path.startswith("api/2.0/fs/"):
            return self.volume(path, request)
        if path not in answers:
            body = {"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for '{path}'"}
            return web.json_response(body, status=404)
        asked = await request.json() if request.method == "POST" else dict(request.query)
        answer = answers[path](asked)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    def experiments(self, asked: dict[str, Any]) -> Any:
        assert "order_by" not in asked or not asked["order_by"]
        number = int(asked.get("page_token", "token-0").removeprefix("token-"))
        found = [{"experiment_id": str(number), "name": f"/Users/ada/{number}", "lifecycle_stage": "active"}]
        return {"experiments": found, **({"next_page_token": f"token-{number + 1}"} if number < 2 else {})}

    def runs(self, asked: dict[str, Any]) -> Any:
        assert asked["order_by"] == ["attributes.start_time ASC"]
        return {"runs": [self.run({"run_id": "r1"})["run"]]}

    def run(self, asked: dict[str, Any]) -> Any:
        if asked["run_id"] != "r1":
            body = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Run not found"}
            return web.json_response(body, status=404)
        info = {
            "run_id": "r1",
            "experiment_id": "0",
            "run_name": "first",
            "status": "FINISHED",
            "start_time": 5,
            "artifact_uri": "dbfs:/databricks/mlflow-tracking/0/r1/artifacts",
        }
        metrics = [{"key": "loss", "value": 0.4, "timestamp": 14, "step": 4}]
        return {"run": {"info": info, "data": {"metrics": metrics}}}

    def history(self, asked: dict[str, Any]) -> Any:
        assert asked["max_results"] == "25000"
        start = int(asked.get("page_token", "opaque0").removeprefix("opaque"))
        every = [{"key": "loss", "value": s / 10, "timestamp": 10 + s, "step": s} for s in range(5)]
        more = start + self.page < len(every)
        found = {"metrics": every[start : start + self.page]}
        return found | ({"next_page_token": f"opaque{start + self.page}"} if more else {})

    def artifacts(self, asked: dict[str, Any]) -> Any:
        if asked.get("path") == "dir":
            return {"files": [{"path": "dir/b%.bin", "is_dir": False, "file_size": 2_000}]}
        if "page_token" not in asked:
            return {"files": [{"path": "a.txt", "is_dir": False, "file_size": 5}], "next_page_token": "2"}
        return {"files": [{"path": "dir", "is_dir": True}]}

    def credentials(self, asked: dict[str, Any]) -> Any:
        from urllib.parse import quote

        (path,) = asked["path"]
        return {
            "credential_infos": [
                {
                    "run_id": asked["run_id"],
                    "path": path,
                    "signed_uri": f"{self.url}/signed/{quote(path)}?X-Amz-Signature=a%2Fb",
                    "headers": [{"name": "x-required", "value": "yes"}],
                    "type": "AWS_PRESIGNED_URL",
                }
            ]
        }

    def volume(self, path: str, request: web.Request) -> web.Response:
        kind, _, rest = path.removeprefix("api/2.0/fs/").partition("/")
        root = "Volumes/main/ml/store/0/r1/artifacts"
        if not rest.startswith(root):
            return web.json_response({"error_code": "NOT_FOUND", "message": "No such directory"}, status=404)
        inside = rest.removeprefix(root).strip("/")
        if kind == "files":
            return web.Response(body=self.files[inside])
        if inside == "dir":
            entry = {"name": "b%.bin", "is_directory": False, "file_size": 2_000}
            return web.json_response({"contents": [entry]})
        if "page_token" not in request.query:
            entry = {"name": "a.txt", "is_directory": False, "file_size": 5}
            return web.json_response({"contents": [entry], "next_page_token": "p/2"})
        assert request.query["page_token"] == "p/2"
        return web.json_response({"contents": [{"name": "dir", "is_directory": True}]})


@pytest.fixture
def workspace() -> FakeWorkspace:
    return FakeWorkspace()


@asynccontextmanager
async def opened(
    workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch, **environ: str
) -> AsyncGenerator[Store]:
    async with serving(workspace) as workspace.url:
        monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
        for name, value in (environ or {"DATABRICKS_TOKEN": "right"}).items():
            monkeypatch.setenv(name, value)
        store = open_rest_store("databricks", SystemOptions())
        async with store.open(context) as info:
            assert info.product == "Databricks"
            yield store


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(spool=tmp_path)


@pytest.mark.anyio
class TestReading:
    async def test_experiments_runs_and_histories_come_through_pages(
        self, workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(workspace, context, monkeypatch) as store:
            names = [one.name async for one in store.experiments(include_deleted=True)]
            assert names == ["/Users/ada/0", "/Users/ada/1", "/Users/ada/2"]
            (run,) = [run async for run in store.runs(RawExperiment(id="0", name="x"))]
            assert isinstance(run, RawRun)
            assert run.user_id is None
            assert run.url == f"{workspace.url}/#mlflow/experiments/0/runs/r1"
            points = [
                row async for chunk in store.history("0", "r1", run.latest) for row in chunk.batch.to_pylist()
            ]
            assert [point["step"] for point in points] == [0, 1, 2, 3, 4]
            assert [point["value"] for point in points] == [0.0, 0.1, 0.2, 0.3, 0.4]
            assert (await store.kin(["r1", "gone"])).keys() == {"r1"}
        assert not [path for path, _ in workspace.requests if "ajax" in path], "no undocumented requests"

    async def test_managed_artifacts_are_read_from_signed_urls(
        self, workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(workspace, context, monkeypatch) as store:
            repository = store.artifacts("r1", "dbfs:/databricks/mlflow-tracking/0/r1/artifacts")
            found = {
                entry.path: b"".join([piece async for piece in repository.read(entry)])
                async for entry in repository.entries()
            }
            assert found == workspace.files

    async def test_artifacts_in_volumes_are_read_through_the_files_api(
        self, workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(workspace, context, monkeypatch) as store:
            repository = store.artifacts("r1", "dbfs:/Volumes/main/ml/store/0/r1/artifacts")
            found = {
                entry.path: b"".join([piece async for piece in repository.read(entry)])
                async for entry in repository.entries()
            }
            assert found == workspace.files
            nothing = store.artifacts("r2", "dbfs:/Volumes/main/ml/store/0/r2/artifacts")
            assert [entry async for entry in nothing.entries()] == []
            with pytest.raises(Unsupported, match="DBFS"):
                store.artifacts("r1", "dbfs:/mnt/own/place")

    async def test_a_service_principal_gets_a_token_once(
        self, workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        robot = {"DATABRICKS_CLIENT_ID": "robot", "DATABRICKS_CLIENT_SECRET": "hush"}
        async with opened(workspace, context, monkeypatch, **robot) as store:
            assert len([one async for one in store.experiments(include_deleted=True)]) == 3
        assert workspace.oauth == 1

    @pytest.mark.parametrize(
        "environ",
        [
            {"DATABRICKS_TOKEN": "wrong"},
            {"DATABRICKS_CLIENT_ID": "robot", "DATABRICKS_CLIENT_SECRET": "wrong"},
        ],
    )
    async def test_wrong_credentials_are_an_auth_error(
        self,
        workspace: FakeWorkspace,
        context: Context,
        monkeypatch: pytest.MonkeyPatch,
        environ: dict[str, str],
    ) -> None:
        with pytest.raises(AuthError, match="401") as failure:
            async with opened(workspace, context, monkeypatch, **environ):
                pass
        assert "wrong" not in str(failure.value)

    async def test_searches_keep_to_their_quota(
        self, workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(databricks, "SEARCHES_PER_S", 20.0)
        async with opened(workspace, context, monkeypatch) as store:
            for _ in range(2):
                [one async for one in store.experiments(include_deleted=True)]
        times = [at for path, at in workspace.requests if path.endswith("/search")]
        assert len(times) == 7
        assert times[-1] - times[0] > 6 / 20.0, "faster than the quota"

    async def test_a_file_without_credentials_is_an_error(
        self, workspace: FakeWorkspace, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(workspace, context, monkeypatch) as store:
            repository = store.artifacts("r1", "dbfs:/databricks/mlflow-tracking/0/r1/artifacts")
            workspace.credentials = lambda asked: web.json_response(  # type: ignore[method-assign]
                {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such file"}, status=404
            )
            with pytest.raises(NotFound, match="no such file"):
                [piece async for piece in repository.read(Blob(path="x", locator="x"))]
