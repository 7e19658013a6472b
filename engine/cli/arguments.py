"""How words on a command line become values: sizes, dates, pairs, credentials."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import typer

from engine.dashboard.readable import without_secrets

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def size(text: str) -> int:
    """Bytes, at least one, from ``256MiB``, ``1.5GB``, ``1000``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    unit = {**_UNITS, **_BINARY}.get(match[2]) if match else None
    amount = int(float(match[1]) * unit) if match and unit else 0
    if not amount:
        raise typer.BadParameter(f"{text!r} is no size; write for example 256MiB or 2GB")
    return amount


def time_ms(text: str) -> int:
    """Milliseconds since 1970 from an ISO date or time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{text!r} is no date; write for example 2026-01-31"
        raise typer.BadParameter(problem, param_hint="--since") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """``{"a": "b"}`` from ``["a=b"]``."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.rpartition("=")
        if not equals or not key or not value:
            raise typer.BadParameter(f"{text!r} is not of the form OLD=NEW", param_hint=option)
        result[key] = value
    return result


def words(texts: Iterable[str], option: str) -> tuple[str, ...]:
    """Each text, or in the place of ``@FILE`` the lines of that file that are not empty."""
    found: list[str] = []
    for text in texts:
        if not text.startswith("@"):
            found.append(text)
            continue
        try:
            lines = Path(text[1:]).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"cannot read {text[1:]}: {error}", param_hint=option) from None
        named = [line.strip() for line in lines if line.strip()]
        if not named:
            # Nothing at all would be taken for everything.
            raise typer.BadParameter(f"{text[1:]} names nothing", param_hint=option)
        found += named
    return tuple(dict.fromkeys(found))


def secret(variable: str | None, option: str) -> str | None:
    """The credential in an environment variable, so that it never stands on a command line."""
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise typer.BadParameter(f"the environment variable {variable} is not set", param_hint=option)
    return value


def invocation() -> str:
    """This command as a person would write it again, with ``***`` in the place of secrets."""
    return without_secrets(shlex.join(["engine", *sys.argv[1:]]))
