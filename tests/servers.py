"""Real servers for tests."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.sandbox import Account, Sandbox
from engine.sandbox.storage.objects import Intercept


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that serves in a thread of its own."""

    url: str
    api_key: str
    keys: dict[str, str]
    data_dir: Path

    def graphql(self, query: str, *, key: str | None = None, operation: str = "", **variables: Any) -> Any:
        """The ``data`` of an answer; an assertion fails on errors."""
        status, body = self.ask(query, key=key, operation=operation, **variables)
        assert status == 200, body
        assert "errors" not in body, body
        return body["data"]

    def ask(
        self, query: str, *, key: str | None = None, operation: str = "", **variables: Any
    ) -> tuple[int, Any]:
        """Status and body of a GraphQL request."""
        request = {"query": query, "variables": variables, "operationName": operation}
        return self.call("POST", "/graphql", request, key=key)

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """Status and parsed body of a request with an API key."""
        basic = base64.b64encode(f"api:{self.api_key if key is None else key}".encode()).decode()
        status, raw = send(
            method,
            self.url + path,
            None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
            {"Authorization": f"Basic {basic}"},
        )
        return status, json.loads(raw) if raw else None

    def counters(self) -> dict[str, int]:
        """Requests by kind so far."""
        status, counters = self.call("GET", "/admin/counters")
        assert status == 200
        found: dict[str, int] = counters
        return found


def send(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of a plain HTTP request."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@contextmanager
def running_sandbox(
    data_dir: Path,
    *,
    accounts: Sequence[Account] = (Account("rehearsal"),),
    port: int = 0,
    intercept: Intercept | None = None,
) -> Generator[RunningSandbox]:
    """Serve a sandbox while the block runs; the same directory continues an earlier one.

    ``intercept`` stands in front of every request, also those for objects.
    """
    started = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        box["loop"], box["stop"] = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Sandbox(data_dir, accounts=accounts, port=port, intercept=intercept) as sandbox:
                sandbox.objects.intercept = intercept
                box["sandbox"] = RunningSandbox(sandbox.url, sandbox.api_key, dict(sandbox.keys), data_dir)
                started.set()
                await box["stop"].wait()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for it
            box["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="sandbox")
    thread.start()
    started.wait()
    try:
        if "error" in box:
            raise box["error"]
        yield box["sandbox"]
    finally:
        if "sandbox" in box:
            box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join()
