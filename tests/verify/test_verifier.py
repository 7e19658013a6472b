"""The verifier on records that are written down, against a destination that keeps them as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.errors import AuthError, CommError, Unsupported
from engine.records import RunState
from engine.verify.findings import Findings, Level, Verifying
from engine.verify.verifier import Verifier, VerifyOptions
from tests.memory import MemoryDestination
from tests.verify.holding import Held, Holding, held, version

pytestmark = pytest.mark.anyio


async def compared(source: list[Held], destination: list[Held], **options: Any) -> Findings:
    return await Verifier(Holding(source), Holding(destination), VerifyOptions(**options)).run()


def told(findings: Findings) -> list[str]:
    return [f"{one.kind} {one.part}: {one.detail}" for one in findings.differences]


def a_run() -> Held:
    run = held("r", name="first", config={"lr": 0.1, "n": 3}, tags=("a", "b"), state=RunState.FINISHED)
    run.points = [("loss", step, 1_000 * step, 1 / (1 + step)) for step in range(5)]
    run.files = {"notes.txt": b"text", "empty": b""}
    run.versions = [version("model", 0, aliases=("best",)), version("model", 1, aliases=("latest",))]
    run.versions[0].entries = {"weights": b"old", "where": "s3://bucket/key"}
    run.versions[1].entries = {"weights": b"new"}
    return run


async def test_equal_sides_have_no_differences_at_any_level() -> None:
    for level in Level:
        findings = await compared([a_run()], [a_run()], level=level)
        assert told(findings) == []
        assert (findings.exit_status, findings.counts.runs) == (0, 1)


async def test_a_root_depends_on_what_is_there_and_on_nothing_else() -> None:
    first, again = await compared([a_run()], [a_run()]), await compared([a_run()], [a_run()])
    assert first.root == again.root != ""
    changed = a_run()
    changed.versions[1].entries["weights"] = b"newer"
    assert (await compared([a_run()], [changed])).root != first.root


Spoil = Callable[[Held], object]


def of_run(**facts: Any) -> Spoil:
    def spoil(run: Held) -> None:
        run.run = replace(run.run, **facts)

    return spoil


def of_version(place: int, **facts: Any) -> Spoil:
    def spoil(run: Held) -> None:
        run.versions[place].artifact = replace(run.versions[place].artifact, **facts)

    return spoil


def swapped_aliases(run: Held) -> None:
    of_version(0, aliases=("latest",))(run)
    of_version(1, aliases=("best",))(run)


SPOILT: dict[str, tuple[Spoil, list[str]]] = {
    "a name": (of_run(name="other"), ['changed name: name: "first" expected, "other" found']),
    "no name": (of_run(name=None), ['changed name: name: "first" expected, null found']),
    "a type": (
        of_run(config={"lr": 0.1, "n": 3.0}),
        ["changed config: config 'n': 3 expected, 3.0 found"],
    ),
    "a state": (of_run(state=RunState.FAILED), ['changed state: state: "finished" expected, "failed" found']),
    "a lost tag": (of_run(tags=("a",)), ['changed tags: tags: ["a","b"] expected, ["a"] found']),
    "a value": (
        lambda run: run.points.__setitem__(2, ("loss", 2, 2_000, 0.5)),
        [
            (
                "changed history: metric 'loss': a step or value of its 5 points is another "
                "(step 2: 0.3333333333333333 expected, 0.5 found)"
            )
        ],
    ),
    "a time": (
        lambda run: run.points.__setitem__(2, ("loss", 2, 2_001, 1 / 3)),
        ["changed history: times of rows: step 2: 2000 expected, 2001 found"],
    ),
    "a file": (lambda run: run.files.pop("notes.txt"), ["missing file: file 'notes.txt' is missing"]),
    "a size": (
        lambda run: run.files.update(empty=b"!"),
        ["changed file: file 'empty' 0 bytes expected, 1 found"],
    ),
    "an entry": (
        lambda run: run.versions[0].entries.update(more=b""),
        ["extra entry: entry 'more' is not at the source"],
    ),
    "a reference": (
        lambda run: run.versions[0].entries.update(where="s3://bucket/other"),
        [
            "changed entry: entry 'where' digest 's3://bucket/key' expected, 's3://bucket/other' found",
            "changed entry: entry 'where' reference 's3://bucket/key' expected, 's3://bucket/other' found",
        ],
    ),
    "swapped aliases": (
        swapped_aliases,
        [
            "missing alias: alias 'best' is missing; true expected",
            "extra alias: alias 'latest' is true; the source has none",
            "extra alias: alias 'best' is true; the source has none",
            "missing alias: alias 'latest' is missing; true expected",
        ],
    ),
    "a missing version": (
        lambda run: run.versions.pop(),
        ["missing artifact: artifact model (dataset) is missing, or is not told to be logged by this run"],
    ),
    "an extra version": (
        lambda run: run.versions.append(version("model", 2)),
        ["extra artifact: logged model:v2 (dataset), which the source does not have"],
    ),
    "metadata": (
        of_version(0, metadata={"n": math.nan}),
        ["extra metadata: metadata 'n' is NaN; the source has none"],
    ),
}


@pytest.mark.parametrize("name", SPOILT)
async def test_what_was_spoilt_is_found_and_nothing_else(name: str) -> None:
    spoil, expected = SPOILT[name]
    spoilt = a_run()
    spoil(spoilt)
    findings = await compared([a_run()], [spoilt])
    assert sorted(told(findings)) == sorted(expected)
    assert findings.exit_status == 1


async def test_bytes_of_the_same_length_differ_only_if_they_are_read() -> None:
    spoilt = a_run()
    spoilt.versions[1].entries["weights"] = b"NEW"
    assert (await compared([a_run()], [spoilt])).exit_status == 0
    (difference,) = told(await compared([a_run()], [spoilt], level=Level.DEEP))
    assert difference.startswith("changed entry: entry 'weights' bytes with MD5")


async def test_rows_and_points_of_the_same_values_are_the_same() -> None:
    rows = held()
    rows.rows = [
        {"_step": s, "_timestamp": float(s), "_runtime": float(s), "loss": 1 / (1 + s)} for s in range(5)
    ]
    points = held()
    points.points = a_run().points
    assert told(await compared([points], [rows])) == []


async def test_rows_of_both_sides_are_compared_value_by_value_whatever_their_type() -> None:
    one, other = held(), held()
    one.rows = [{"_step": 0, "text": "a", "table": {"rows": [1, None]}, "n": 2**70, "none": None}]
    other.rows = [{"_step": 0, "text": "b", "table": {"rows": [1]}, "n": 2**70 + 1}]
    assert {difference.split(":")[1] for difference in told(await compared([one], [other]))} == {
        " metric 'text'",
        " metric 'table'",
        " metric 'n'",
    }


async def test_a_missing_run_and_an_extra_one_are_found() -> None:
    findings = await compared([held("a"), held("b")], [held("b"), held("c")])
    assert [(one.kind, one.run) for one in findings.differences] == [("missing", "a"), ("extra", "c")]
    assert (findings.counts.runs, findings.runs_found) == (1, 2)


async def test_versions_in_another_order_are_found_also_between_runs() -> None:
    def both(first: int, second: int) -> list[Held]:
        one, other = held("a"), held("b")
        one.versions, other.versions = [version("m", first)], [version("m", second)]
        return [one, other]

    class Numbered(Holding):
        """Tells what number a version had, as a destination that numbers anew does."""

        def audit(self) -> Any:
            audit = super().audit()
            audit.origin = lambda found: {4: 1, 3: 2}[found.version or 0]  # type: ignore[method-assign]
            return audit

    findings = await Verifier(Holding(both(1, 2)), Numbered(both(4, 3)), VerifyOptions()).run()
    assert told(findings) == ["changed artifact: v1 became v4, but the later v2 became v3"]


async def test_what_cannot_be_read_is_not_verified_and_no_difference() -> None:
    source = Holding([a_run(), held("other")], faults={"history:r": CommError("no", remedy="wait")})
    findings = await Verifier(source, Holding([a_run(), held("other")])).run()
    assert told(findings) == []
    assert [(item.subject, item.reason) for item in findings.not_verified] == [
        ("history of run r (first)", "no (wait)")
    ]
    assert (findings.exit_status, findings.counts.runs, findings.counts.artifacts) == (1, 2, 2)


async def test_a_side_that_is_gone_ends_it() -> None:
    source = Holding([a_run()], faults={"history:r": AuthError("revoked", status=401)})
    with pytest.raises(AuthError):
        await Verifier(source, Holding([a_run()])).run()


async def test_runs_that_are_known_to_have_failed_are_left_out() -> None:
    findings = await compared([held("a"), held("b")], [held("b")], failed={"a": "did not arrive"})
    assert told(findings) == []
    assert [(item.run, item.reason) for item in findings.not_verified] == [("a", "did not arrive")]
    assert findings.exit_status == 0


async def test_parts_that_were_not_asked_for_are_not_looked_at() -> None:
    other = held("r", **{name: getattr(a_run().run, name) for name in ("name", "config", "tags")})
    assert told(await compared([a_run()], [other], parts=frozenset())) == []


async def test_progress_and_differences_are_told_as_they_are_found() -> None:
    events: list[Any] = []
    verifier = Verifier(Holding([held("a"), held("b")]), Holding([held("a")]), emit=events.append)
    await verifier.run()
    assert [event.run for event in events if event.type == "difference"] == ["b"]
    assert isinstance(events[-1], Verifying)
    assert (events[-1].runs_found, events[-1].runs_done, events[-1].differences) == (2, 1, 1)


async def test_more_runs_than_are_looked_up_at_once_are_compared_in_order() -> None:
    many = [held(f"r{number}") for number in range(350)]
    findings = await compared(many, list(reversed(many)))
    assert (findings.exit_status, findings.counts.runs) == (0, 350)
    assert findings.root == (await compared(many, many)).root


async def test_a_destination_that_cannot_be_read_back_is_told() -> None:
    with pytest.raises(Unsupported, match="cannot be read back"):
        Verifier(Holding([]), MemoryDestination())
