"""HTML of the pages: escaping, tables, links. Neither scripts nor foreign assets."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web

_LONGEST_VALUE = 2000
_NONE = '<p class="faint">None.</p>'

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --faint: #767676; --ink: #1f6fd0; }
@media (prefers-color-scheme: dark) { :root { --faint: #9a9a9a; --ink: #6db0ff; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
a { color: var(--ink); text-underline-offset: .15em; } nav, .faint { color: var(--faint); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
.facts { width: auto; } .facts th, .values th { font-weight: 400; color: var(--faint); }
.values th { width: 1%; font: .85em ui-monospace, monospace; line-height: 1.8; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.when { white-space: nowrap; } .notes { white-space: pre-wrap; }
.label { padding: .05rem .5rem; border-radius: 1rem; background: var(--soft); white-space: nowrap; }
.finished { background: #2a9d4a40; } .running { background: #2a78d640; }
.failed, .crashed, .killed { background: #d6402a40; }
.totals { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; }
.totals b { font-size: 1.3rem; display: block; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; }
figcaption { font-weight: 600; overflow-wrap: anywhere; } svg { width: 100%; height: auto; display: block; }
svg path { fill: none; stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
svg circle { fill: var(--ink); } svg text { font: 10px system-ui, sans-serif; fill: var(--faint); }
code { font-size: .9em; }
"""


def page(title: str, body: str, trail: Sequence[tuple[str, str | None]] = ()) -> web.Response:
    """A whole page; ``trail`` are names and addresses of what it is part of."""
    crumbs = " / ".join(
        ['<a href="/">sandbox</a>']
        + [f'<a href="{href}">{html.escape(text)}</a>' if href else html.escape(text) for text, href in trail]
    )
    return web.Response(
        text=f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>
<style>{_STYLE}</style></head><body><nav>{crumbs}</nav><h1>{html.escape(title)}</h1>{body}</body></html>""",
        content_type="text/html",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


def section(title: str, content: str) -> str:
    """A part of a page; ``content`` is HTML, which may be empty."""
    return f"<h2>{title}</h2>{content or _NONE}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in HTML, nothing if there are none; a title that begins with ``#`` heads numbers."""
    if not rows:
        return ""
    head = "".join(
        f'<th class="number">{title[1:]}</th>' if title.startswith("#") else f"<th>{title}</th>"
        for title in titles
    )
    body = "".join(
        "<tr>" + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, in HTML."""
    return _pairs("facts", pairs)


def values(mapping: dict[str, object]) -> str:
    """Keys, escaped, and their values as JSON."""
    return _pairs("values", ((html.escape(key), _value(value)) for key, value in sorted(mapping.items())))


def _pairs(kind: str, pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{name}</th><td>{cell}</td></tr>" for name, cell in pairs)
    return f'<div class="scroll"><table class="{kind}"><tbody>{rows}</tbody></table></div>' if rows else ""


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return code(text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…")


def code(text: str) -> str:
    """Text to be read letter by letter."""
    return f"<code>{html.escape(text)}</code>"


def label(text: str, kind: str = "") -> str:
    """A word that stands out; ``kind`` may give it a colour."""
    return f'<span class="label {html.escape(kind)}">{html.escape(text)}</span>'


def labels(texts: Iterable[str]) -> str:
    """Several such words."""
    return " ".join(label(text) for text in texts)


def number(value: int) -> str:
    """A cell with a number."""
    return f'<td class="number">{value:,}</td>'


def size(count: int) -> str:
    """A cell with a number of bytes, to the byte where the pointer rests."""
    return f'<td class="number" title="{count:,} bytes">{human_size(count)}</td>'


def human_size(count: int) -> str:
    """A number of bytes with three digits or so."""
    scaled, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if scaled < 1024:
            break
        scaled, unit = scaled / 1024, larger
    return (
        f"{count:,} B" if unit == "B" else f"{scaled:.3g} {unit}" if scaled < 1000 else f"{scaled:.0f} {unit}"
    )


def when(ms: int) -> str:
    """A cell with a time in UTC."""
    return f'<td class="when">{moment(ms)}</td>'


def moment(ms: int) -> str:
    """Unix time in milliseconds to the minute, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def path(*parts: str) -> str:
    """The address of a page by the names that it consists of."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def link(text: str, *parts: str) -> str:
    """A link to another page."""
    return f'<a href="{path(*parts)}">{html.escape(text)}</a>'


def away(text: str, url: str) -> str:
    """A link to a URL."""
    return f'<a href="{html.escape(url)}">{html.escape(text)}</a>'
