"""``/admin/faults``: look at the rules and change them while the server runs.

    GET     → {"seed": 0, "rules": [{"id": 1, "rule": "objects PUT: SlowDown 20%", "matched": 9, "acted": 2}]}
    PUT     {"rules": ["graphql: 503 for 30s"], "seed": 7}   replaces all rules; the seed may be left out
    POST    {"rules": ["objects: delay 40ms"]}               adds some
    DELETE  all of them, or /admin/faults/1 a single one

Each answers as GET does. Any valid key will do on this machine; from elsewhere it must be an administrator's.
"""

from __future__ import annotations

from collections.abc import Callable
from json import JSONDecodeError
from typing import Any

from aiohttp import web

from engine.sandbox.context import CALL
from engine.sandbox.faults.injector import Faults
from engine.sandbox.faults.language import BadRule
from engine.sandbox.refusals import bad_request, forbidden, not_found

PATH = "/admin/faults"


class FaultRoutes:
    """The routes of one server.

    Args:
        is_local: whether a request surely comes from this machine.
    """

    def __init__(self, faults: Faults, is_local: Callable[[web.Request], bool]) -> None:
        self._faults = faults
        self._is_local = is_local

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self._show),
            web.put(PATH, self._replace),
            web.post(PATH, self._add),
            web.delete(PATH, self._clear),
            web.delete(PATH + r"/{number:\d+}", self._remove),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        self._check(request)
        return self._answer()

    async def _replace(self, request: web.Request) -> web.Response:
        given = await self._given(request)
        seed = given.get("seed")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise bad_request(f"seed must be an integer, not {seed!r}")
        try:
            self._faults.replace(given["rules"], seed=seed)
        except BadRule as error:
            raise bad_request(str(error)) from error
        return self._answer()

    async def _add(self, request: web.Request) -> web.Response:
        given = await self._given(request)
        try:
            self._faults.add(given["rules"])
        except BadRule as error:
            raise bad_request(str(error)) from error
        return self._answer()

    async def _clear(self, request: web.Request) -> web.Response:
        self._check(request)
        self._faults.clear()
        return self._answer()

    async def _remove(self, request: web.Request) -> web.Response:
        self._check(request)
        if not self._faults.remove(int(request.match_info["number"])):
            raise not_found("there is no such rule")
        return self._answer()

    async def _given(self, request: web.Request) -> dict[str, Any]:
        self._check(request)
        try:
            given = await request.json()
        except JSONDecodeError as error:
            raise bad_request(f"the body is not JSON: {error}") from error
        rules = given.get("rules") if isinstance(given, dict) else None
        if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
            raise bad_request('the body must be like {"rules": ["objects PUT: SlowDown 20%"]}')
        return dict(given)

    def _check(self, request: web.Request) -> None:
        if not self._is_local(request) and not request[CALL].user.admin:
            raise forbidden("permission denied: from another machine only an administrator may change faults")

    def _answer(self) -> web.Response:
        return web.json_response(self._faults.describe())
