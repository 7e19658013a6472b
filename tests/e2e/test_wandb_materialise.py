"""With ``--materialise`` references become files: the official SDK logs them, and downloads what arrived."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests.e2e.sdk_references import PROJECT
from tests.e2e.transfers import command
from tests.e2e.wandb_pair import A, B, Pair, Plug, api_of
from tests.s3 import running_moto
from tests.servers import running_sandbox
from tests.wandb.conftest import run_sdk

BUCKET = "bucket"
FETCHED = {"page": b"a page", "local.txt": b"local text", "object": b"an object", "plain.txt": b"a file"}
KEPT = {
    "altered-page": "it changed",
    "gone-page": "404",
    "altered.txt": "not the one that was referred to",
    "unproven": "not the one that was referred to",
    "foreign": "nobody here can fetch hdfs://",
    "dead": "cannot connect",
}


@contextmanager
def pages(held: dict[str, bytes]) -> Generator[str]:
    """A web server with these pages; their ETags are their content."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = held.get(self.path.strip("/"))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            if body is not None:
                self.send_header("ETag", f'"{body.hex()}"')
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_told: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    """What was logged; some of what it refers to changed, or went, since."""
    held = {"page": b"a page", "altered-page": b"a page", "gone-page": b"a page"}
    directory = tmp_path_factory.mktemp("sdk")
    with (
        pytest.MonkeyPatch.context() as patch,
        running_sandbox(tmp_path_factory.mktemp("a"), accounts=[Account(A)]) as source,
        running_sandbox(tmp_path_factory.mktemp("b"), accounts=[Account(B)]) as target,
        running_moto(BUCKET) as s3,
        pages(held) as url,
    ):
        patch.setenv("AWS_ENDPOINT_URL", s3.meta.endpoint_url)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3.put_object(Bucket=BUCKET, Key="object", Body=FETCHED["object"])
        run_sdk("tests.e2e.sdk_references", source, directory, url, BUCKET)
        held["altered-page"] = b"another page"
        del held["gone-page"]
        (directory / "altered.txt").write_text("another text")
        yield Pair(source, target, Plug())


def move(pair: Pair, project: str, options: Options | None = None) -> Result:
    origin, goal = pair.source, pair.target

    async def run() -> Result:
        engine = Engine(
            open_source(
                f"wandb:{origin.url}/{A}/{PROJECT}", SystemOptions(api_key=origin.api_key, materialise=True)
            ),
            open_destination(f"wandb:{goal.url}/{B}/{project}", SystemOptions(api_key=goal.api_key)),
            options,
        )
        async with engine:
            return await engine.run()

    return anyio.run(run)


@pytest.fixture(scope="module")
def result(pair: Pair) -> Result:
    return move(pair, "fetched")


def found(pair: Pair, name: str) -> Any:
    artifact_instance_cache.clear()
    return api_of(pair.target).artifact(f"{B}/{name}")


def test_what_can_be_fetched_arrives_as_files(pair: Pair, result: Result, tmp_path: Path) -> None:
    assert result.failures == []
    artifact = found(pair, "fetched/refs:v0")
    for name, content in FETCHED.items():
        entry = artifact.get_entry(name)
        assert entry.ref is None
        assert Path(entry.download(str(tmp_path))).read_bytes() == content


def test_what_cannot_be_had_stays_a_reference_and_its_cause_is_told(pair: Pair, result: Result) -> None:
    entries = found(pair, "fetched/refs:v0").manifest.entries
    assert {name for name, entry in entries.items() if entry.ref is not None} == set(KEPT)
    told = [loss.detail for loss in result.loss_examples["reference_kept"]]
    for name, why in KEPT.items():
        assert any(f"{name!r} stays a reference" in one and why in one for one in told), (name, told)


@pytest.mark.usefixtures("result")
def test_references_to_other_versions_stay_what_they_are(pair: Pair) -> None:
    (entry,) = found(pair, "fetched/other:v0").manifest.entries.values()
    assert entry.ref.startswith("wandb-artifact://")


@pytest.mark.usefixtures("result")
def test_again_writes_nothing_also_without_a_ledger(pair: Pair) -> None:
    """The digest of the version is not that of the source any more, but it is known to be the same."""
    before = pair.target.counters()["writes"]
    again = move(pair, "fetched", Options(runs=False))
    assert (again.failures, pair.target.counters()["writes"]) == ([], before)


def test_the_command_line_has_it_and_verifies_what_arrived(pair: Pair) -> None:
    done = command(
        "migrate",
        f"wandb:{pair.source.url}/{A}/{PROJECT}",
        f"wandb:{pair.target.url}/{B}/commanded",
        "--materialise",
        "--verify",
        "full",
        *("--source-api-key-env", "KEY_A", "--dest-api-key-env", "KEY_B"),
        environ={"KEY_A": pair.source.api_key, "KEY_B": pair.target.api_key},
    )
    assert done.status == 0, done.text
    assert "reference_kept" in done.text
