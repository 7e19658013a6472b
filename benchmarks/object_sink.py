"""An object store that costs next to nothing: nginx takes PUTs, a small server hands out the URLs.

    python -m benchmarks.object_sink STORE_URL PORT_FILE

is that small server. It answers the GraphQL of W&B as far as one artifact needs it, from memory and without
checking anything, so that a benchmark against it measures the client and nothing else.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web

_NGINX = """
daemon off;
user root;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {root}/incoming;
  keepalive_requests 100000000;
  server {{
    listen 127.0.0.1:{port};
    root {root}/objects;
    location / {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


@dataclass(frozen=True)
class Sink:
    """``store`` takes PUTs of plain paths, ``wandb`` speaks GraphQL; ``objects`` is where the bytes end."""

    store: str
    wandb: str
    objects: Path

    def empty(self) -> None:
        shutil.rmtree(self.objects)
        self.objects.mkdir()

    def stored(self) -> int:
        """Bytes of all objects that came, manifests and metadata excluded."""
        return sum(f.stat().st_size for f in (self.objects / "file").rglob("*") if f.is_file())


@contextmanager
def sink(root: Path) -> Generator[Sink]:
    """nginx and the signing server, each in a process of its own.

    Raises:
        RuntimeError: nginx is not installed.
    """
    if (nginx := shutil.which("nginx")) is None:
        raise RuntimeError("this benchmark needs nginx with its DAV module: apt-get install nginx-light")
    objects = root / "objects"
    objects.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (root / "nginx.conf").write_text(_NGINX.format(root=root, port=port))
    store, port_file = f"http://127.0.0.1:{port}", root / "port"
    processes = [
        subprocess.Popen([nginx, "-e", str(root / "error.log"), "-c", str(root / "nginx.conf")]),
        subprocess.Popen([sys.executable, "-m", "benchmarks.object_sink", store, str(port_file)]),
    ]
    try:
        while not (port_file.exists() and port_file.read_text()) or not _answers(store):
            time.sleep(0.05)
        yield Sink(store, f"http://127.0.0.1:{port_file.read_text()}", objects)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


class _Signer:
    """Hands out URLs in the shapes of W&B's answers."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._numbers = itertools.count()

    async def graphql(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        answers = {
            "query Connect": self._connect,
            "query Entity": lambda _: {"entity": {"id": "e", "name": "bench", "readOnly": False}},
            "query RunOrigins": lambda _: {"project": {"runs": {"edges": []}}},
            "query Project": lambda _: {"project": {"id": "p", "name": "p", "readOnly": False}},
            "mutation UpsertBucket": self._run,
            "mutation CreateRunFiles": self._run_files,
            "mutation CreateArtifactFiles": self._files,
            "mutation CreateArtifactManifest": self._manifest,
            "mutation CommitArtifact": lambda _: {"commitArtifact": {"artifact": {"id": "a"}}},
            "mutation CreateArtifact(": self._artifact,
        }
        answer = next((answer for name, answer in answers.items() if name in asked["query"]), None)
        if answer is None:
            told = {"errors": [{"message": f"unknown to this sink: {asked['query']}"}]}
            return web.json_response(told, status=400)
        body = orjson.dumps({"data": answer(asked["variables"])})
        return web.Response(body=body, content_type="application/json")

    async def file_stream(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({})

    def _url(self, kind: str, name: str) -> str:
        return f"{self._store}/{kind}/{quote(name)}?X-Amz-Signature={next(self._numbers):064x}"

    @staticmethod
    def _connect(_: Mapping[str, Any]) -> object:
        viewer = {"id": "u", "entity": "bench", "username": "bench", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": {"features": []}}

    @staticmethod
    def _run(asked: Mapping[str, Any]) -> object:
        project = {"name": asked["project"], "entity": {"name": asked["entity"]}}
        bucket = {"id": "r", "name": asked["name"], "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket}}

    @staticmethod
    def _artifact(_: Mapping[str, Any]) -> object:
        return {"createArtifact": {"artifact": {"id": "QQ==", "state": "PENDING", "artifactSequence": {}}}}

    def _run_files(self, asked: Mapping[str, Any]) -> object:
        files = [{"name": name, "uploadUrl": self._url("run", name)} for name in asked["files"]]
        return {"createRunFiles": {"uploadHeaders": [], "files": files}}

    def _manifest(self, _: Mapping[str, Any]) -> object:
        file = {"id": "f", "uploadUrl": self._url("manifest", "manifest"), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def _files(self, asked: Mapping[str, Any]) -> object:
        nodes = [
            {
                "storagePath": file["name"],
                "uploadUrl": self._url("file", file["name"]),
                "uploadHeaders": [f"Content-MD5:{file['md5']}"],
                "artifact": {"id": "QQ=="},
                "uploadMultipartUrls": None,
            }
            for file in asked["files"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}


async def _app(store: str) -> web.Application:
    signer = _Signer(store)
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/graphql", signer.graphql)
    app.router.add_post("/files/{path:.*}", signer.file_stream)
    return app


def main() -> None:
    store, port_file = sys.argv[1], Path(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0))
    port_file.write_text(str(listener.getsockname()[1]))
    web.run_app(_app(store), sock=listener, print=None)


if __name__ == "__main__":
    main()
