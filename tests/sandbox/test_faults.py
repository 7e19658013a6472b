"""Faults by rules: what the language says is what clients of a sandbox meet on the wire."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import hashlib
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.sandbox import Account, Sandbox
from engine.sandbox.faults import BadRule, Faults
from engine.sandbox.faults.buckets import TokenBucket, Window
from engine.sandbox.faults.language import parse, rules_of
from engine.sandbox.faults.rules import When

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4000


def basic(key: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}"}


class Client:
    """Asks one sandbox, and lets its clock be turned."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession, clock: list[float]) -> None:
        self.sandbox, self.http, self.clock = sandbox, http, clock

    @property
    def faults(self) -> Faults:
        return self.sandbox.faults

    def acted(self) -> list[int]:
        return [rule["acted"] for rule in self.faults.describe()["rules"]]

    async def graphql(self, query: str = "{ viewer { username } }") -> tuple[int, Any, Mapping[str, str]]:
        async with self.http.post(
            f"{self.sandbox.url}/graphql", json={"query": query}, headers=self.auth
        ) as answer:
            return answer.status, await answer.text(), answer.headers.copy()

    @property
    def auth(self) -> dict[str, str]:
        return basic(self.sandbox.api_key)

    async def put(
        self, key: str, data: bytes = CONTENT, *, md5: bool = False
    ) -> tuple[int, str, Mapping[str, str]]:
        digest = base64.b64encode(hashlib.md5(data).digest()).decode() if md5 else None
        url = self.sandbox.objects.upload_url(key, md5_b64=digest)
        headers = {"Content-MD5": digest} if digest else {}
        async with self.http.put(url, data=data, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers.copy()

    async def get(self, key: str) -> bytes:
        async with self.http.get(self.sandbox.objects.download_url(key)) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def admin(self, method: str, path: str = "", body: Any = None) -> tuple[int, Any]:
        url = f"{self.sandbox.url}/admin/faults{path}"
        async with self.http.request(method, url, json=body, headers=self.auth) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def serving(data_dir: Path, *rules: str, seed: int = 0, **options: Any) -> AsyncGenerator[Client]:
    clock = [0.0]
    faults = Faults(rules, seed=seed, clock=lambda: clock[0])
    async with Sandbox(data_dir, faults=faults, **options) as sandbox:
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(sock_read=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            http._retry_connection = False  # aiohttp would hide the first break
            yield Client(sandbox, http, clock)


# -- the language


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("any: 503", When()),
        ("any: 503 20%", When(share=0.2)),
        ("any: 503 once", When(most=1)),
        ("any: 503 3 times after 10 requests", When(most=3, skip=10)),
        ("any: 503 from 10s for 30s", When(begin_s=10, length_s=30)),
        ("any: 503 for 500ms every 2min", When(length_s=0.5, period_s=120)),
    ],
)
def test_a_rule_says_how_often_and_when(text: str, when: When):
    assert parse(text).when == when


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("503", "not of the form"),
        ("a b: 503", "no place"),
        ("objects upsertBucket: 503", "which only graphql has"),
        ("any: explode", "nothing that can happen"),
        ("any: 200", "nothing that can happen"),
        ("any: 503 sometimes", "not understood"),
        ("any: 503 for 10", "no duration"),
        ("any: 503 for 10s every 5s", "shorter `for`"),
        ("any: limit fast", "no rate"),
        ("any: limit 0/s", "no rate"),
        ("any: limit 5/s as 200", "no status"),
        ("any: delay 40ms p99 4ms", "more than"),
        ("any: delay 40ms±x", "no duration"),
        ("any: corrupt", "say `corrupt request`"),
        ("any: stall", "missing"),
        ("any: 503 after", "missing"),
    ],
)
def test_a_rule_that_cannot_be_read_is_explained(text: str, words: str):
    with pytest.raises(BadRule, match=words):
        parse(text)


def test_a_file_of_rules_may_have_comments():
    assert rules_of("# a bad day\n\nany: 503 once  # at noon\nobjects: reset\n") == [
        "any: 503 once",
        "objects: reset",
    ]


def test_a_window_may_come_again():
    when = When(begin_s=10, length_s=2, period_s=5)
    assert [age for age in range(20) if when.includes(age)] == [10, 11, 15, 16]


# -- limits


def test_a_token_bucket_allows_its_rate_and_its_burst():
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.wait_s() == pytest.approx(0.1)
    assert sum(bucket.take(n / 100) for n in range(1, 1001)) in (99, 100)  # by rounding


def test_a_window_allows_its_quota_and_then_nothing():
    window = Window(most=2, length_s=60)
    assert [window.take(at) for at in (0, 1, 2, 59, 60)] == [True, True, False, False, True]
    assert window.left == 1


async def test_objects_beyond_a_limit_are_told_to_slow_down(tmp_path: Path):
    async with serving(tmp_path, "objects PUT: limit 5/s burst 2") as client:
        statuses = [await client.put(f"k{n}", b"x") for n in range(3)]
        assert [status for status, _, _ in statuses] == [200, 200, 503]
        assert "<Code>SlowDown</Code><Message>Please reduce your request rate.</Message>" in statuses[2][1]
        assert "Retry-After" not in statuses[2][2]
        client.clock[0] = 0.2
        assert (await client.put("k2", b"x"))[0] == 200
        assert client.acted() == [1]
        assert await client.get("k0") == b"x"


async def test_a_limit_may_tell_when_to_come_again(tmp_path: Path):
    rules = ["graphql: limit 1/10s burst 1 retry-after", "filestream: limit 1/s retry-after date 30s"]
    async with serving(tmp_path, *rules) as client:
        assert (await client.graphql())[0] == 200
        status, body, headers = await client.graphql()
        assert (status, headers["Retry-After"]) == (429, "10")
        assert json.loads(body) == {"errors": [{"message": "rate limit exceeded"}]}
        url = f"{client.sandbox.url}/files/a/b/c/file_stream"
        for _ in range(2):
            async with client.http.post(url, json={}, headers=client.auth) as answer:
                told = answer.headers.get("Retry-After")
        assert told is not None
        wait_s = email.utils.parsedate_to_datetime(told).timestamp() - time.time()
        assert 29 <= wait_s <= 31


async def test_a_quota_is_told_with_every_answer(tmp_path: Path):
    async with serving(tmp_path, "graphql: quota 2/min") as client:
        answers = [await client.graphql() for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert [headers["RateLimit-Remaining"] for _, _, headers in answers] == ["1", "0", "0"]
        assert {headers["RateLimit-Reset"] for _, _, headers in answers} == {"60"}
        client.clock[0] = 61
        assert (await client.graphql())[0] == 200


# -- errors


async def test_errors_have_the_shape_of_their_endpoint(tmp_path: Path):
    rules = ["graphql: 500 once", "objects: 502 once", "objects: RequestTimeout once", "pages: 504"]
    async with serving(tmp_path, *rules) as client:
        status, body, headers = await client.graphql()
        assert (status, headers["Content-Type"].partition(";")[0]) == (500, "application/json")
        assert "errors" in json.loads(body)
        for expected in ((502, "BadGateway"), (400, "RequestTimeout")):
            status, body, headers = await client.put("k", b"x")
            assert (status, headers["Content-Type"].partition(";")[0]) == (expected[0], "application/xml")
            assert f"<Code>{expected[1]}</Code>" in body
        async with client.http.get(client.sandbox.url) as answer:
            assert answer.status == 504


async def test_a_revoked_key_is_refused_until_the_rule_is_gone(tmp_path: Path):
    async with serving(tmp_path, "graphql,filestream: 401 from 10s") as client:
        assert (await client.graphql())[0] == 200
        client.clock[0] = 10
        assert (await client.graphql())[0] == 401
        assert (await client.admin("DELETE"))[0] == 200
        assert (await client.graphql())[0] == 200


async def test_a_page_stands_in_for_an_answer(tmp_path: Path):
    async with serving(tmp_path, "objects PUT: html once") as client:
        status, body, _ = await client.put("k")
        assert (status, body[:15]) == (200, "<!doctype html>")
        assert client.sandbox.objects.stat("k") is None


async def test_an_operation_is_known_by_any_word_of_its_document(tmp_path: Path):
    async with serving(tmp_path, "graphql models: 409 once", "graphql view*: 500 once") as client:
        assert (await client.graphql("{ serverInfo { latestLocalVersionInfo { outOfDate } } }"))[0] == 200
        assert (await client.graphql("query Q { viewer { id } }"))[0] == 500
        assert (await client.graphql("{ models { edges { cursor } } }"))[0] == 409


async def test_paths_and_methods_choose_requests(tmp_path: Path):
    async with serving(tmp_path, "objects GET,HEAD /storage/a/*: NoSuchKey") as client:
        for key in ("a/k", "b/k"):
            assert (await client.put(key, b"x"))[0] == 200
        assert await client.get("b/k") == b"x"
        with pytest.raises(aiohttp.ClientResponseError, match="404"):
            await client.get("a/k")


# -- presigned URLs


async def test_urls_expire_at_once_or_early(tmp_path: Path):
    async with serving(tmp_path, "objects PUT: expire once", "objects GET: expire in 1s") as client:
        status, body, _ = await client.put("k", b"x")
        assert (status, "Request has expired" in body) == (403, True)
        assert (await client.put("k", b"x"))[0] == 200
        url = client.sandbox.objects.download_url("k")
        expires = int(re.search(r"Expires=(\d+)", url)[1])  # type: ignore[index]
        assert 0 <= expires - int(time.time()) <= 1
        assert client.acted() == [1, 1]
        async with client.http.get(url) as answer:
            assert answer.status == 200
        url = client.sandbox.objects.upload_url("other")
        assert int(re.search(r"Expires=(\d+)", url)[1]) > time.time() + 60  # type: ignore[index]


# -- connections


@pytest.mark.parametrize("rule", ["reset", "reset mid-request", "reset mid-response", "lose-answer"])
async def test_a_reset_breaks_the_connection(tmp_path: Path, rule: str):
    async with serving(tmp_path, f"objects PUT: {rule} once") as client:
        with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
            await client.put("k")
        done = client.sandbox.objects.stat("k") is not None
        assert done == (rule in ("reset mid-response", "lose-answer"))
        assert (await client.put("k"))[0] == 200
        assert client.acted() == [1]


async def test_a_peer_sees_a_reset_and_no_end(tmp_path: Path):
    async with serving(tmp_path, "graphql: reset once") as client:
        with pytest.raises(aiohttp.ClientOSError, match="reset"):
            await client.graphql()


@pytest.mark.parametrize("rule", ["truncate", "reset mid-response"])
async def test_an_answer_ends_in_its_middle(tmp_path: Path, rule: str):
    async with serving(tmp_path, f"objects GET: {rule} once") as client:
        await client.put("k")
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await client.get("k")
        assert await client.get("k") == CONTENT


async def test_an_answer_may_end_early_and_look_whole(tmp_path: Path):
    async with serving(tmp_path, "objects GET: shorten once", "graphql: shorten once") as client:
        await client.put("k")
        assert await client.get("k") == CONTENT[: len(CONTENT) // 2]
        assert await client.get("k") == CONTENT
        with pytest.raises(json.JSONDecodeError):
            json.loads((await client.graphql())[1])
        assert json.loads((await client.graphql())[1])["data"]


async def test_a_connection_goes_on_after_damage_that_it_survives(tmp_path: Path):
    rules = [
        "objects GET: shorten once",
        "objects GET: corrupt response once after 1 request",
        "objects GET: stall 10ms mid-response once after 2 requests",
    ]
    async with serving(tmp_path, *rules) as client, aiohttp.ClientSession() as http:
        await client.put("k")
        ports = set()
        for _ in range(4):
            async with http.get(client.sandbox.objects.download_url("k")) as answer:
                assert answer.connection is not None
                assert answer.connection.transport is not None
                ports.add(answer.connection.transport.get_extra_info("sockname"))
                last = await answer.read()
        assert (len(ports), last == CONTENT) == (1, True)
        assert client.acted() == [1, 1, 1]


async def test_one_bit_is_enough_to_be_found_out(tmp_path: Path):
    rules = ["objects PUT: corrupt request once", "objects GET: corrupt response once"]
    async with serving(tmp_path, *rules) as client:
        status, body, _ = await client.put("k", md5=True)
        assert (status, "<Code>BadDigest</Code>" in body) == (400, True)
        assert (await client.put("k", md5=True))[0] == 200
        damaged = await client.get("k")
        assert [a ^ b for a, b in zip(damaged, CONTENT, strict=True) if a != b] == [1]
        assert await client.get("k") == CONTENT


async def test_bytes_damaged_without_a_digest_are_stored_but_the_etag_tells(tmp_path: Path):
    async with serving(tmp_path, "objects PUT: corrupt request once") as client:
        status, _, headers = await client.put("k")
        assert status == 200
        assert headers["ETag"].strip('"') != hashlib.md5(CONTENT).hexdigest()


@pytest.mark.parametrize("rule", ["stall 300ms", "stall 300ms mid-request", "stall 300ms mid-response"])
async def test_a_stall_passes(tmp_path: Path, rule: str):
    async with serving(tmp_path, f"objects: {rule} 2 times") as client:
        began = time.monotonic()
        assert (await client.put("k"))[0] == 200
        assert await client.get("k") == CONTENT
        # A GET has no body that could stall.
        assert time.monotonic() - began >= (0.3 if "mid-request" in rule else 0.6)


async def test_a_stall_outlasts_an_impatient_client_and_harms_nobody_else(tmp_path: Path):
    async with serving(tmp_path, "objects GET: stall 20s mid-response once") as client:
        await client.put("k")
        impatient = aiohttp.ClientTimeout(sock_read=0.1)
        with pytest.raises(aiohttp.SocketTimeoutError):
            async with client.http.get(client.sandbox.objects.download_url("k"), timeout=impatient) as answer:
                await answer.read()
        assert await client.get("k") == CONTENT


# -- chance and time


async def test_delays_follow_their_distribution():
    lognormal = Faults(["any: delay 40ms p99 400ms"])._rules[0]
    drawn = sorted(lognormal.act.seconds(lognormal.draw) for _ in range(10_000))  # type: ignore[attr-defined]
    assert drawn[5000] == pytest.approx(0.04, rel=0.1)
    assert drawn[9900] == pytest.approx(0.4, rel=0.25)
    even = Faults(["any: delay 40ms±20ms"])._rules[0]
    drawn = [even.act.seconds(even.draw) for _ in range(1000)]  # type: ignore[attr-defined]
    assert 0.02 <= min(drawn) < 0.025
    assert 0.055 < max(drawn) <= 0.06


async def test_a_delay_lets_requests_wait(tmp_path: Path):
    async with serving(tmp_path, "graphql: delay 100ms") as client:
        began = time.monotonic()
        assert (await client.graphql())[0] == 200
        assert time.monotonic() - began >= 0.1


async def test_rules_add_up_and_the_first_is_nearest_to_the_network(tmp_path: Path):
    async with serving(tmp_path, "graphql: delay 50ms", "graphql: 500", "graphql: reset") as client:
        began = time.monotonic()
        assert (await client.graphql())[0] == 500
        assert time.monotonic() - began >= 0.05


async def test_the_same_seed_hits_the_same_requests(tmp_path: Path):
    async def hits(seed: int) -> list[int]:
        async with serving(tmp_path / str(time.monotonic_ns()), "graphql: 500 30%", seed=seed) as client:
            return [(await client.graphql())[0] for _ in range(30)]

    first, again, other = await hits(1), await hits(1), await hits(2)
    assert first == again != other
    assert 3 <= first.count(500) <= 16


async def test_requests_at_once_are_counted_one_by_one(tmp_path: Path):
    async with serving(tmp_path, "graphql: 500 3 times after 4 requests") as client:
        answers = await asyncio.gather(*(client.graphql() for _ in range(12)))
        assert sorted(status for status, _, _ in answers) == [200] * 9 + [500] * 3
        assert client.faults.describe()["rules"][0]["matched"] == 12


async def test_a_window_after_some_requests_begins_with_the_last_of_them(tmp_path: Path):
    async with serving(tmp_path, "graphql: 500 for 300ms after 2 requests") as client:
        client.clock[0] += 0.4
        assert [(await client.graphql())[0] for _ in range(4)] == [200, 200, 500, 500]
        client.clock[0] += 0.4
        assert (await client.graphql())[0] == 200


# -- while it runs


async def test_rules_are_shown_replaced_added_and_removed(tmp_path: Path):
    async with serving(tmp_path, "graphql: 500") as client:
        assert (await client.graphql())[0] == 500
        rule = {"id": 1, "rule": "graphql: 500", "matched": 1, "acted": 1}
        assert await client.admin("GET") == (200, {"seed": 0, "rules": [rule]})
        status, shown = await client.admin("PUT", "", {"rules": ["graphql: 502", "any: reset"], "seed": 7})
        assert (status, shown["seed"]) == (200, 7)
        assert [(rule["id"], rule["rule"], rule["matched"]) for rule in shown["rules"]] == [
            (1, "graphql: 502", 0),
            (2, "any: reset", 0),
        ]
        assert (await client.admin("DELETE", "/2"))[0] == 200
        assert (await client.admin("DELETE", "/2"))[0] == 404
        assert (await client.graphql())[0] == 502
        status, shown = await client.admin("POST", "", {"rules": ["objects: SlowDown"]})
        assert [rule["id"] for rule in shown["rules"]] == [1, 3]
        assert await client.admin("DELETE") == (200, {"seed": 7, "rules": []})
        assert (await client.graphql())[0] == 200


@pytest.mark.parametrize(
    "body", [[], {}, {"rules": "any: 503"}, {"rules": ["any: boom"]}, {"rules": [], "seed": "x"}]
)
async def test_what_makes_no_sense_changes_nothing(tmp_path: Path, body: Any):
    async with serving(tmp_path, "graphql: 500") as client:
        status, answer = await client.admin("PUT", "", body)
        assert status == 400
        assert answer["errors"][0]["message"]
        assert [rule["rule"] for rule in client.faults.describe()["rules"]] == ["graphql: 500"]


async def test_from_another_machine_only_an_administrator_may_change_faults(tmp_path: Path):
    accounts = [Account("ann"), Account("root", admin=True)]
    async with serving(tmp_path, accounts=accounts, public_url="http://sandbox.example.org") as client:
        client.sandbox._public_url = None
        url = f"{client.sandbox.url}/admin/faults"
        client.sandbox._public_url = "http://sandbox.example.org"
        for user, expected in (("ann", 403), ("root", 200)):
            headers = basic(client.sandbox.keys[user])
            for method in ("GET", "DELETE"):
                async with client.http.request(method, url, headers=headers) as answer:
                    assert answer.status == expected
        async with client.http.get(url) as answer:
            assert answer.status == 401
