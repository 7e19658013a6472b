"""The language of the rules.

WHERE: WHAT [HOW OFTEN] [WHEN]

where     graphql filestream objects pages any (several with commas), GET PUT POST …, /path/*, operation
what      one of ``WHAT``
how often 20%   once   3 times   after 10 requests
when      from 10s   for 30s   every 5min
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from engine.sandbox.faults.acts import (
    Break,
    Corrupt,
    Delay,
    Expire,
    Limit,
    Page,
    Quota,
    Refuse,
    Stall,
    Truncate,
)
from engine.sandbox.faults.buckets import TokenBucket, Window
from engine.sandbox.faults.refusals import S3_ERRORS, Refusal
from engine.sandbox.faults.requests import CLASSES, Where
from engine.sandbox.faults.rules import Act, Rule, When

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|h)")
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"})


class BadRule(ValueError):
    """A rule that cannot be read; says why, and what would be one."""


class _Words:
    """The words of a rule, from left to right."""

    def __init__(self, text: str) -> None:
        self._words = text.split()

    def __bool__(self) -> bool:
        return bool(self._words)

    def skip(self, word: str) -> bool:
        """Take the next word if it is this one."""
        if self._words[:1] != [word]:
            return False
        del self._words[0]
        return True

    def next(self, what: str) -> str:
        if not self._words:
            raise BadRule(f"{what} is missing at the end")
        return self._words.pop(0)

    def seconds(self, what: str) -> float:
        return _seconds(self.next(what), what)

    def optional_seconds(self) -> float | None:
        return self.seconds("a duration") if self._words and _DURATION.fullmatch(self._words[0]) else None

    def number(self, what: str) -> int:
        word = self.next(what)
        if not word.isdigit():
            raise BadRule(f"{word!r} is no {what}")
        return int(word)


def parse(text: str) -> Rule:
    """Read one rule.

    Raises:
        BadRule: it is none.
    """
    where, colon, rest = text.strip().partition(": ")
    if not colon:
        raise BadRule(f"{text!r} is not of the form WHERE: WHAT, for example `objects PUT: SlowDown 20%`")
    try:
        words = _Words(rest)
        act = _act(words)
        return Rule(text=text.strip(), where=_where(where), act=act, when=_when(words))
    except BadRule as error:
        raise BadRule(f"{text.strip()!r}: {error}") from None


def rules_of(text: str) -> list[str]:
    """The rules of a file: one a line, without comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _where(text: str) -> Where:
    where = Where()
    for word in text.split():
        names = frozenset(word.split(","))
        if names <= {*CLASSES, "any"}:
            where = replace(where, classes=frozenset() if "any" in names else names)
        elif names <= _METHODS:
            where = replace(where, methods=names)
        elif word.startswith("/"):
            where = replace(where, path=word)
        elif re.fullmatch(r"[\w*?]+", word) and not where.operation:
            where = replace(where, operation=word)
        else:
            raise BadRule(f"{word!r} is no place; say {', '.join(CLASSES)} or any, a method, or a /path/*")
    if where.operation and where.classes not in (frozenset(), frozenset({"graphql"})):
        raise BadRule(f"{where.operation!r} is an operation, which only graphql has")
    return replace(where, classes=frozenset({"graphql"})) if where.operation else where


def _when(words: _Words) -> When:
    when = When()
    while words:
        word = words.next("how often")
        match word:
            case "once":
                when = replace(when, most=1)
            case "after":
                when = replace(when, skip=words.number("number of requests"))
                words.skip("requests") or words.skip("request")
            case "from":
                when = replace(when, begin_s=words.seconds("the moment after `from`"))
            case "for":
                when = replace(when, length_s=words.seconds("the time after `for`"))
            case "every":
                when = replace(when, period_s=words.seconds("the time after `every`"))
            case _ if share := re.fullmatch(r"(\d+(?:\.\d+)?)%", word):
                when = replace(when, share=float(share[1]) / 100)
            case _ if word.isdigit() and words.skip("times"):
                when = replace(when, most=int(word))
            case _:
                raise BadRule(
                    f"{word!r} is not understood; say how often (20%, once, 3 times, after 10 requests) "
                    "or when (from 10s, for 30s, every 5min)"
                )
    if math.isfinite(when.period_s) and when.length_s >= when.period_s:
        raise BadRule("`every` needs a shorter `for`")
    return when


# -- what happens


def _act(words: _Words) -> Act:
    name = words.next("what shall happen")
    if name in S3_ERRORS or _is_error(name):
        return Refuse(_refusal(words, name))
    if name not in WHAT:
        known = ", ".join([*WHAT, *S3_ERRORS, "a status from 400 to 599"])
        raise BadRule(f"{name!r} is nothing that can happen; say {known}")
    return WHAT[name](words)


def _is_error(text: str) -> bool:
    return text.isdigit() and 400 <= int(text) < 600 and int(text) in set(HTTPStatus)


def _refusal(words: _Words, code: str | None = None) -> Refusal:
    if code is None and words.skip("as"):
        code = words.next("a status or an S3 code after `as`")
        if code not in S3_ERRORS and not _is_error(code):
            raise BadRule(f"{code!r} is no status from 400 to 599 and none of {', '.join(S3_ERRORS)}")
    if not words.skip("retry-after"):
        return Refusal(code)
    as_date = words.skip("date")
    seconds = words.optional_seconds()
    return Refusal(code, retry_after_s=math.inf if seconds is None else seconds, as_date=as_date)


def _limit(words: _Words) -> Limit:
    count, seconds = _rate(words.next("a rate such as 50/s"))
    rate = count / seconds
    burst = (
        float(words.number("number of requests after `burst`"))
        if words.skip("burst")
        else max(1.0, rate / 10)
    )
    return Limit(TokenBucket(rate, burst), _refusal(words))


def _quota(words: _Words) -> Quota:
    count, seconds = _rate(words.next("a quota such as 1000/min"))
    return Quota(Window(round(count), seconds), _refusal(words))


def _rate(word: str) -> tuple[float, float]:
    count, _, per = word.partition("/")
    per = f"1{per}" if per in _SECONDS else per
    if not re.fullmatch(r"\d+(\.\d+)?", count) or not float(count) or not _DURATION.fullmatch(per):
        raise BadRule(f"{word!r} is no rate; say for example 50/s or 1000/10min")
    return float(count), _seconds(per, "a duration")


def _delay(words: _Words) -> Delay:
    middle, _, spread = words.next("a duration such as 40ms").partition("±")
    delay = Delay(_seconds(middle, "a duration"), _seconds(spread, "a spread") if spread else 0.0)
    if not words.skip("p99"):
        return delay
    p99_s = words.seconds("the duration after `p99`")
    if spread or not 0 < delay.median_s < p99_s:
        raise BadRule("`p99` must be more than the duration before it, which is the median and has no ±")
    return replace(delay, p99_s=p99_s)


def _expire(words: _Words) -> Expire:
    if words.skip("in"):
        return Expire(words.seconds("the time after `in`"))
    return Expire()


def _reset(words: _Words) -> Break:
    return Break(_middle(words))


def _stall(words: _Words) -> Stall:
    return Stall(words.seconds("how long to stall"), _middle(words))


def _middle(words: _Words) -> str:
    return next((at for at in ("mid-request", "mid-response") if words.skip(at)), "")


def _corrupt(words: _Words) -> Corrupt:
    if words.skip("request"):
        return Corrupt(sent=False)
    if words.skip("response"):
        return Corrupt(sent=True)
    raise BadRule("say `corrupt request` or `corrupt response`")


WHAT: dict[str, Callable[[_Words], Act]] = {
    "limit": _limit,
    "quota": _quota,
    "delay": _delay,
    "reset": _reset,
    "lose-answer": lambda _words: Break("answer"),
    "truncate": lambda _words: Truncate(),
    "shorten": lambda _words: Truncate(silently=True),
    "stall": _stall,
    "corrupt": _corrupt,
    "expire": _expire,
    "html": lambda _words: Page(),
}
"""What can happen, beside the error statuses and the codes of S3."""


def _seconds(text: str, what: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadRule(f"{text!r} is no duration for {what}; say for example 200ms, 5s, 2min")
    return float(match[1]) * _SECONDS[match[2]]
