"""The server: routes, authentication, errors, start and stop.

async with Sandbox(Path("rehearsal")) as sandbox:
    os.environ |= {"WANDB_BASE_URL": sandbox.url, "WANDB_API_KEY": sandbox.api_key}
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import Account, User
from engine.sandbox.accounts.auth import authenticate
from engine.sandbox.areas import ROUTES
from engine.sandbox.artifacts.deletion import delete_abandoned
from engine.sandbox.context import CALL, Call
from engine.sandbox.database import Database
from engine.sandbox.faults import Faults
from engine.sandbox.faults.admin import FaultRoutes
from engine.sandbox.graph.execution import Executor
from engine.sandbox.pages.page import PAGES
from engine.sandbox.refusals import Refusal, bad_request
from engine.sandbox.storage.doomed import delete_doomed
from engine.sandbox.storage.objects import DAY_S, PREFIX, Intercept, ObjectStore

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024 * 1024
"""Bytes of one GraphQL or filestream request; objects have no such limit."""

ABANDONED_AFTER_S = DAY_S
"""An upload that nothing came for that long will not be completed: its URLs have expired."""

DEFAULT_ACCOUNTS = (Account("rehearsal"),)

# Kinds of requests by what they do, as prefixes of the counters' names.
_WRITES = ("graphql Mutation.", "POST /files/", "object PUT")
_READS = ("graphql Query.", "object GET")

_OPEN_HANDLERS = {route.handler for route in PAGES}


class Sandbox:
    """A W&B-protocol server in this process.

    Args:
        data_dir: holds everything; created if missing. Its state survives restarts.
        accounts: who may use it. Those of earlier starts stay.
        host: the default is reachable from this machine only.
        port: 0 picks a free one.
        public_url: under which clients reach it, if that is not ``http://host:port``.
        intercept: stands in front of every route but those of objects, which have their own
            (``objects.intercept``), and may answer in their stead. May be set at any time.
        faults: what goes wrong, before the interceptors; also changed through ``/admin/faults``.

    Attributes:
        keys: API keys by username, of accounts that were given to this start.
        counters: requests by kind since the start.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        accounts: Sequence[Account] = DEFAULT_ACCOUNTS,
        host: str = "127.0.0.1",
        port: int = 0,
        public_url: str | None = None,
        intercept: Intercept | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.data_dir = Path(data_dir)
        self.faults = faults or Faults()
        self.intercept = intercept
        self.counters: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self._accounts = tuple(accounts)
        self._host, self._port = host, port
        self._public_url = public_url
        self._running = AsyncExitStack()

    @property
    def url(self) -> str:
        """What clients use as ``WANDB_BASE_URL``; known once started."""
        if self._public_url is not None:
            return self._public_url.rstrip("/")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def api_key(self) -> str:
        """The key of the first account."""
        return self.keys[self._accounts[0].username]

    @property
    def entity(self) -> str:
        """Where the first account's runs go unless a client names another entity."""
        return self._accounts[0].default_entity or self._accounts[0].username

    async def __aenter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with AsyncExitStack() as stack:
            self.db = Database(self.data_dir / "records.sqlite")
            stack.callback(self.db.close)
            self.objects = ObjectStore(self.data_dir / "objects", _secret(self.data_dir), lambda: self.url)
            self.objects.lifetime_s = self.faults.lifetime_s
            stack.callback(self.objects.close)
            await self._tidy()
            with self.db.transaction():
                self.keys = _register(self.db, self._accounts, self.data_dir / "api-keys.json")
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=5.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self._host, self._port).start()
            self._port = runner.addresses[0][1]
            self.faults.restart()
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    async def _tidy(self) -> None:
        """Finish deletions that an earlier process began, and drop uploads that nobody will complete."""
        abandoned_s = time.time() - ABANDONED_AFTER_S
        delete_abandoned(self.db, self.objects, int(abandoned_s * 1000))
        delete_doomed(self.db, self.objects)
        await asyncio.to_thread(self.objects.drop_abandoned, abandoned_s)

    def _application(self) -> web.Application:
        app = web.Application(
            middlewares=[_refusals, self._faults, self._interception, self._admission],
            client_max_size=MAX_BODY,
        )
        app.on_response_prepare.append(self.faults.annotate)
        app.add_routes(self.objects.routes())
        app.add_routes(
            [web.post("/graphql", _graphql(Executor())), web.get("/admin/counters", self._show_counters)]
        )
        app.add_routes(FaultRoutes(self.faults, self._is_local).routes())
        app.add_routes(ROUTES)
        app.add_routes(PAGES)
        return app

    @web.middleware
    async def _faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self.faults.intercept(request, handler)

    @web.middleware
    async def _interception(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.intercept is None or request.path.startswith(PREFIX):
            return await handler(request)
        return await self.intercept(request, handler)

    @web.middleware
    async def _admission(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            # Object URLs are signed, clients send no credentials there.
            self.counters[f"object {request.method}"] += 1
            return await handler(request)
        self.counters[f"{request.method} {_kind(request)}"] += 1
        if request.match_info.http_exception is not None:
            # What is not there says so to everybody: the SDK asks for it without a key.
            raise request.match_info.http_exception
        user = self._guest() if self._is_open(request) else authenticate(self.db, request)
        request[CALL] = Call(self.db, self.objects, user, self.url, self.counters)
        return await handler(request)

    def _is_open(self, request: web.Request) -> bool:
        """Whether this is a page that somebody on this machine may look at without a login."""
        return (
            request.match_info.handler in _OPEN_HANDLERS
            and "Authorization" not in request.headers
            and self._is_local(request)
        )

    def _is_local(self, request: web.Request) -> bool:
        """Whether somebody on this machine asks.

        The Host header is asked as well, lest a page of the web reads this one through a name that
        resolves to loopback.
        """
        return self._public_url is None and all(
            _is_loopback(host) for host in (self._host, request.remote, request.url.host)
        )

    def _guest(self) -> User:
        """Who looks at the pages without a login: they see everything, and pages cannot write."""
        user = accounts.user_of_key(self.db, self.api_key)
        assert user is not None
        return dataclasses.replace(user, admin=True)

    async def _show_counters(self, _request: web.Request) -> web.Response:
        counted = dict(sorted(self.counters.items()))
        writes = sum(count for kind, count in counted.items() if kind.startswith(_WRITES))
        reads = sum(count for kind, count in counted.items() if kind.startswith(_READS))
        return web.json_response({"reads": reads, "writes": writes, **counted})


async def serve(
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    accounts: Sequence[Account] = DEFAULT_ACCOUNTS,
    public_url: str | None = None,
    started: Callable[[Sandbox], None] = lambda _sandbox: None,
) -> None:
    """Run a sandbox until cancelled; ``started`` is told when it accepts requests."""
    async with Sandbox(data_dir, accounts=accounts, host=host, port=port, public_url=public_url) as sandbox:
        started(sandbox)
        await asyncio.Event().wait()


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _graphql(executor: Executor) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise bad_request(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise bad_request("the body is not a JSON object")
        answer = await executor.execute(request[CALL], body)
        return web.Response(
            status=answer.status, body=_encode(answer.body), content_type="application/json", charset="utf-8"
        )

    return handler


def _encode(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers beyond 64 bits, which orjson does not write.
        return json.dumps(body, allow_nan=False).encode()


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        status, message = refusal.status, refusal.message
    except web.HTTPException as error:
        status, message = error.status, error.text or error.reason
        if status < 400:
            raise
    except ConnectionError:
        # Whoever asked is gone; nobody reads this.
        status, message = 400, "the connection broke"
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        status, message = 500, "internal error of the sandbox"
    headers = {"WWW-Authenticate": 'Basic realm="sandbox"'} if status == 401 else None
    return web.json_response({"errors": [{"message": message}]}, status=status, headers=headers)


def _kind(request: web.Request) -> str:
    """The route a request matched, so that counters do not grow with names."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _secret(data_dir: Path) -> bytes:
    path = data_dir / "secret"
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return path.read_bytes()


def _register(db: Database, given: Sequence[Account], path: Path) -> dict[str, str]:
    """Make all accounts known, and keep the keys that were made up for them in a private file."""
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    keys = {}
    for account in given:
        user = accounts.register(db, account)
        key = account.api_key or kept.get(account.username) or accounts.new_key()
        owner = accounts.user_of_key(db, key)
        if owner is None:
            accounts.add_key(db, user.number, key)
        elif owner.number != user.number:
            raise ValueError(f"{owner.username} and {account.username} have the same API key")
        keys[account.username] = key
    if kept | keys != kept:
        _write_private(path, json.dumps(kept | keys, indent=1))
    return keys


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
