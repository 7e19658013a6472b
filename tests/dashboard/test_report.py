"""The report says what happened in any form, loads nothing, and lets no name break it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.dashboard import readable
from engine.dashboard.model import build_report
from engine.dashboard.report import Format, format_of, rendered
from engine.errors import ConfigError
from engine.records import Loss
from engine.transfer.events import Finished, LossRecorded, Progress
from engine.transfer.ledger.items import Cause, Item, Kind, State
from engine.transfer.ledger.store import Store, sqlite_url
from engine.transfer.session_log import Began, session_log
from engine.transfer.throttling.throttle import Endpoint, ThrottleState

HERE, THERE = "mlflow:sqlite:///here.db", "wandb:https://there/team"

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "| a | b |\n# heading\n`code`",
    "\u202egnp.exe\u2066",
    "\x1b[31mred\x07\0",
    "👩‍🔬" * 40,
    "long " * 2_000,
    "postgresql://user:hunter2@db/x?password=hunter2",
]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags in balance, what is loaded, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            f"{name}={value}" for name, value in attrs if name in ("src", "href", "data", "action")
        ]
        self.loaded += [name for name, _ in attrs if name.startswith("on")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def throttle(n: int) -> ThrottleState:
    return ThrottleState(
        host="store:443",
        endpoint=Endpoint.OBJECTS,
        rate=float("inf") if n < 3 else 50.0,
        slots=32,
        in_flight=8,
        sent=60 * n,
        rejected=max(0, n - 3),
        round_trip_s=0.02,
        down_s=None,
    )


def session(state_dir: Path, text: str = "trial", *, ends: bool = True, exit_status: int = 1) -> None:
    began = Began.by_me(HERE, THERE, f"engine migrate {HERE} {THERE}")
    with session_log(state_dir, began) as log:
        for n in range(1, 11):
            log.see(
                Progress(
                    enumerating=n < 4,
                    runs_found=12,
                    runs_done=n,
                    runs_failed=0,
                    points=1_000 * n,
                    files=n,
                    bytes=10**6 * n,
                    requests=60 * n,
                    elapsed_s=float(n),
                    throttles=(throttle(n),),
                    waiting=(f"{text} does not answer",) if n in (6, 7) else (),
                )
            )
        loss = Loss(kind="key_renamed", subject=f"run {text}", detail=f"{text} became b", count=3)
        log.see(LossRecorded(loss=loss))
        if ends:
            log.see(
                Finished(
                    runs_done=10,
                    runs_failed=1,
                    failures=1,
                    losses={"key_renamed": 3},
                    points=10_000,
                    files=10,
                    bytes=10**7,
                    requests=600,
                    elapsed_s=10.0,
                    exit_status=exit_status,
                    loss_examples=(loss,),
                )
            )


def ledger(state_dir: Path, text: str = "trial", *, failed: bool = True, runs: int = 10) -> None:
    store = Store(sqlite_url(state_dir / "ledger.sqlite"))
    done = [
        Item(kind=kind, project=text, run=f"r{n}", state=State.DONE, destination=f"team/{text}", points=1_000)
        for n in range(runs)
        for kind in (Kind.RUN, Kind.HISTORY)
    ]
    cause = Cause(
        kind="CommError", side="destination", message=f"cannot take {text}", remedy=f"rename {text}"
    )
    broken = [
        Item(kind=Kind.RUN, project=text, run=text, state=State.FAILED),
        Item(kind=Kind.FILES, project=text, run=text, state=State.FAILED, cause=cause),
    ]
    store.write(store.migration(HERE, THERE), [*done, *(broken if failed else [])])
    store.close()


def report(state_dir: Path, form: Format = Format.HTML) -> str:
    return rendered(build_report(state_dir), form)


def test_a_page_says_what_moved_what_failed_and_how_to_go_on(tmp_path):
    ledger(tmp_path)
    session(tmp_path)
    page = Page(report(tmp_path))
    for told in (
        "1 item did not arrive",
        "10 of 11 runs arrived whole",
        "20,000",
        "cannot take trial",
        "rename trial",
        f"engine migrate {HERE} {THERE}",
        "Metric points per second",
        "limit found at 50/s",
        "7 refused",
        "trial does not answer",
        "key renamed",
        "trial became b",
        "some items failed",
    ):
        assert told in page.text, told


def test_a_page_is_whole_loads_nothing_and_runs_nothing(tmp_path):
    ledger(tmp_path)
    session(tmp_path)
    text = report(tmp_path)
    page = Page(text)
    assert page.open == []
    assert page.loaded == []
    assert "script" not in page.tags
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))


def test_each_drawing_has_a_title_a_description_and_a_table(tmp_path):
    ledger(tmp_path)
    session(tmp_path)
    tags = Page(report(tmp_path)).tags
    assert tags.count("svg") == tags.count("desc") == 6
    assert tags.count("details") == 4


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("form", Format)
def test_hostile_names_are_shown_and_do_nothing(tmp_path, name, form):
    ledger(tmp_path, name)
    session(tmp_path, name)
    text = report(tmp_path, form)
    assert "hunter2" not in text
    # JSON has the names as they are, for programs.
    assert form is Format.JSON or not {"\u202e", "\u2066"} & set(text)
    assert not {"\x1b", "\0"} & set(text)
    match form:
        case Format.HTML:
            page = Page(text)
            assert page.open == []
            assert page.loaded == []
            assert not {"script", "img"} & set(page.tags)
            assert len(text) < 100_000
        case Format.MD:
            lines = text.splitlines()
            assert [line for line in lines if line.startswith("# ")] == ["# 1 item did not arrive"]
            assert "<script" not in text.replace("\\<", "")
        case Format.JSON:
            assert json.loads(text)["migrations"][0]["status"]["source"] == HERE


def test_programs_get_the_same_model(tmp_path):
    ledger(tmp_path)
    session(tmp_path)
    [told] = json.loads(report(tmp_path, Format.JSON))["migrations"]
    assert told["verdict"]["title"] == "1 item did not arrive"
    assert told["status"]["counts"]["run"] == {"done": 10, "failed": 1}
    assert told["timeline"]["windows"][0]["refused"] == 7
    assert told["losses"][0]["count"] == 3
    assert told["sessions"][0]["last"]["points"] == 10_000


def test_an_empty_ledger_has_a_report(tmp_path):
    store = Store(sqlite_url(tmp_path / "ledger.sqlite"))
    store.close()
    for form in (Format.HTML, Format.MD):
        assert "Nothing was transferred yet" in report(tmp_path, form)
    store = Store(sqlite_url(tmp_path / "ledger.sqlite"))
    store.migration(HERE, THERE)
    store.close()
    assert "Nothing was transferred yet" in report(tmp_path)


def test_without_session_logs_the_ledger_alone_is_told(tmp_path):
    ledger(tmp_path, failed=False)
    page = Page(report(tmp_path))
    assert "Everything arrived" in page.text
    assert f"engine migrate {HERE}" not in page.text
    assert page.open == []


@pytest.mark.parametrize(
    ("told", "title", "more"),
    [
        (
            {"root": "abc123", "counts": {"runs": 10}, "source": {"uri": HERE}},
            "Everything arrived and was verified",
            "abc123",
        ),
        (
            {"merkle_root": "x", "differences": [{"subject": "run r1", "detail": "loss differs"}]},
            "Arrived, with 1 difference",
            "run r1: loss differs",
        ),
        (
            {"version": 99, "counts": "many", "differences": None},
            "Everything arrived and was verified",
            "no difference",
        ),
    ],
    ids=["clean", "different", "not understood"],
)
def test_a_certificate_is_told_as_far_as_it_is_understood(tmp_path, told, title, more):
    ledger(tmp_path, failed=False)
    session(tmp_path, exit_status=0)
    (tmp_path / "certificate.json").write_text(json.dumps(told))
    text = Page(report(tmp_path)).text
    assert title in text
    assert more in text


def test_a_session_without_an_end_is_told_so(tmp_path):
    ledger(tmp_path, failed=False)
    session(tmp_path, ends=False)
    assert "Interrupted" in Page(report(tmp_path)).text


@pytest.mark.parametrize("name", ["report.pdf", "report", "nowhere/report.html"])
def test_a_file_that_no_report_can_be_written_to_is_refused_before_anything_begins(tmp_path, name):
    with pytest.raises(ConfigError):
        format_of(tmp_path / name)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (readable.duration(0), "0 s"),
        (readable.duration(9.96), "10 s"),
        (readable.duration(59.7), "1 min"),
        (readable.duration(3_661), "1 h 1 min"),
        (readable.duration(90_000), "1 d 1 h"),
        (readable.size(999), "999 B"),
        (readable.size(999_999), "1 MB"),
        (readable.size(1_500_000_000), "1.5 GB"),
        (readable.scaled(0.25), "0.25"),
        (readable.scaled(12_345), "12.3k"),
        (readable.share(16, 1_516), "1.1 %"),
        (readable.share(0, 0), "0 %"),
        (readable.shown("a\n\tb"), "a b"),
        (readable.shown("x" * 10**7, 10), "xxxxxxxxx…"),
        (
            readable.without_secrets("mysql://u:p%40s@h/d?ssl=1&password=x"),
            "mysql://u:***@h/d?ssl=1&password=***",
        ),
    ],
)
def test_numbers_and_names_are_readable(shown, expected):
    assert shown == expected
