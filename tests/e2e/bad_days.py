"""Bad days that are rehearsed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.e2e.transfers import Target, migrate
from tests.sdk_reader import SdkReader, SdkRun
from tests.servers import RunningSandbox
from tests.stores import Store

ALONE = {
    "SlowDown beyond a rate": ["objects PUT: limit 40/s burst 2"],
    "429 with Retry-After": ["graphql: 429 retry-after 1s once after 40 requests"],
    "429 with a date": ["graphql: 429 retry-after date 1s 2 times after 25 requests"],
    "a quota told by headers": ["graphql: quota 30/2s"],
    "latency": ["any: delay 10ms p99 80ms"],
    "resets before anything is read": ["any: reset 10%"],
    "resets in the middle of requests": ["any: reset mid-request 10%"],
    "resets in the middle of answers": ["any: reset mid-response 10%"],
    "lost answers": ["any: lose-answer 10%"],
    "truncated answers": ["any: truncate 10%"],
    "answers with a wrong length": ["any: shorten 10%"],
    "a server that stops reading": ["objects PUT: stall 3s mid-request 3 times"],
    "a server that stops in an answer": ["graphql,objects: stall 3s mid-response 3 times"],
    "a server that stops before answering": ["filestream: stall 3s 3 times"],
    "corrupted uploads": ["objects PUT: corrupt request 3 times after 3 requests"],
    "timeouts of S3 that are no 408": ["objects PUT: RequestTimeout 10%"],
    "URLs that have expired": ["objects PUT: expire 10%"],
    "URLs that live too short": ["objects PUT: expire in 0s 3 times after 3 requests"],
    "500 now and then": ["any: 500 10%"],
    "an outage by 502": ["any: 502 for 1s after 20 requests"],
    "an outage by 503": ["any: 503 for 1s after 20 requests"],
    "an outage by 504": ["any: 504 for 1s after 20 requests"],
    "an outage without any answer": ["any: reset for 1s after 20 requests"],
    "pages instead of answers": ["any: html 10%"],
    "conflicts that pass": ["graphql upsertBucket: 409 3 times", "objects PUT: 409 3 times"],
}

AT_ONCE = {
    "limits, latency and resets": [
        "objects PUT: limit 60/s burst 3",
        "any: delay 5ms p99 40ms",
        "any: reset mid-response 5%",
    ],
    "lost answers, corruption and expiry": [
        "any: lose-answer 7%",
        "objects PUT: corrupt request 2 times after 5 requests",
        "objects PUT: expire 5%",
    ],
    "an outage, pages and truncation": [
        "any: 503 for 700ms after 30 requests",
        "any: html 5%",
        "any: truncate 5%",
    ],
}

READING = {
    "truncated downloads": ["objects GET: truncate 20%"],
    "downloads shorter than they should be": [
        "objects GET: shorten once after 2 requests",
        "objects GET: shorten once after 9 requests",
    ],
    # One only: bytes that come wrong twice are a broken file.
    "a download with a wrong bit": ["objects GET: corrupt response once after 4 requests"],
    "resets before downloads": ["objects GET: reset 20%"],
    "resets in downloads": ["objects GET: reset mid-response 20%"],
    "stalls in downloads": ["objects GET: stall 3s mid-response 3 times"],
    "stalls before downloads": ["objects GET: stall 3s 3 times"],
    "expired URLs": ["objects GET: expire 10%"],
    "URLs that live too short": ["objects GET: expire in 0s 3 times after 3 requests"],
    "SlowDown beyond a rate": ["objects GET: limit 40/s burst 2"],
    "500 of the store": ["objects GET: 500 20%"],
    "pages in the place of objects": ["objects GET: html once after 3 requests"],
    "lists that are cut off": ["graphql: truncate 15%"],
    "lists shorter than announced": ["graphql: shorten 15%"],
    "lists that are reset": ["graphql: reset mid-response 15%"],
    "pages in the place of lists": ["graphql: html 15%"],
    "429 with Retry-After": ["graphql: 429 retry-after 1s once after 10 requests"],
    "a quota told by headers": ["graphql: quota 40/1s"],
    "an outage": ["any: 503 for 1s after 10 requests"],
    "an outage without any answer": ["any: reset for 1s after 10 requests"],
    "latency": ["any: delay 10ms p99 80ms"],
}

READING_AT_ONCE = {
    "truncation, expiry and 500": [
        "objects GET: truncate 10%",
        "objects GET: expire 10%",
        "objects GET: 500 10%",
    ],
    "resets, pages and a wrong bit": [
        "any: reset mid-response 7%",
        "graphql: html 7%",
        "objects GET: corrupt response once after 4 requests",
    ],
    "an outage, limits and latency": [
        "any: 502 for 700ms after 20 requests",
        "objects GET: limit 60/s burst 3",
        "any: delay 5ms p99 40ms",
    ],
}


@contextmanager
def rehearsed(server: RunningSandbox, rules: list[str], seed: int) -> Generator[list[dict[str, Any]]]:
    """Rules in force; yields what will tell, after the block, how often each acted."""
    assert server.call("PUT", "/admin/faults", {"rules": rules, "seed": seed})[0] == 200
    told: list[dict[str, Any]] = []
    try:
        yield told
    finally:
        told += server.call("GET", "/admin/faults")[1]["rules"]
        server.call("DELETE", "/admin/faults")


class BadDay:
    """Moves the store to a fresh project while rules are in force."""

    def __init__(self, server: RunningSandbox, store: Store) -> None:
        self.server = server
        self._store = store
        self._reader = SdkReader(server.url, server.api_key)
        self._good: dict[str, dict[str, Any]] | None = None
        self._projects = 0

    def target(self) -> Target:
        self._projects += 1
        return Target(self.server.url, self.server.api_key, "e2e", f"day-{self._projects}")

    def rules(self, rules: list[str], seed: int) -> AbstractContextManager[list[dict[str, Any]]]:
        return rehearsed(self.server, rules, seed)

    def migrate(self, target: Target) -> Any:
        return migrate(
            self._store.uri, target, artifact_roots={"mlflow-artifacts:/": f"{self._store.served}/"}
        )

    def read(self, target: Target) -> dict[str, dict[str, Any]]:
        return {
            run_id: comparable(run)
            for run_id, run in self._reader.project(target.entity, target.project).items()
        }

    @property
    def good(self) -> dict[str, dict[str, Any]]:
        """What a day without faults leaves behind."""
        if self._good is None:
            target = self.target()
            assert self.migrate(target).exit_status == 0
            self._good = self.read(target)
            assert len(self._good) == 12
            assert sum(len(run["artifacts"]) for run in self._good.values()) == 5
        return self._good


def comparable(run: SdkRun) -> dict[str, Any]:
    """All that a run holds but the moment of its import; also the order and number of rows and versions."""
    return {name: value for name, value in vars(run).items() if name != "created_at"}


def arrives_as_on_a_good_day(day: BadDay, rules: list[str], seed: int, *, all_act: bool = True) -> None:
    expected, target = day.good, day.target()
    with day.rules(rules, seed) as told:
        result = day.migrate(target)
    assert not result.failures, "\n".join(map(str, result.failures))
    assert result.exit_status == 0
    # A client that is told of a quota need not run into it.
    acted = all if all_act else any
    assert acted(rule["acted"] or "quota" in rule["rule"] for rule in told), told
    arrived = day.read(target)
    assert arrived == expected, [run for run in expected if arrived.get(run) != expected[run]]
