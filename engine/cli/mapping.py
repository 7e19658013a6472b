"""``engine map``: looks at a mapping file before a migration uses it."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.cli.flowing import flowing
from engine.remapping.reading import read_mapping
from engine.remapping.rules import NAMESPACES, SECTIONS, Rule, Rules

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="Look at a mapping file, as engine migrate takes it with --map.",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A mapping, see docs/remapping.md.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def check(file: File, json: AsJson = False) -> None:
    """See that a mapping says nothing wrong; all that is wrong is told at once, with its line.

    [bold]Exit status[/]  0 nothing is wrong · 2 something is, as listed
    """
    remapping = read_mapping(file)
    counts = {section: len(rules.rules) for section, rules in remapping.sections.items()}
    if json:
        typer.echo(jsonlib.dumps({"type": "mapping", "rules": counts, "merge": sorted(remapping.merge)}))
        return
    table = Table("section", "rules", "they rename", box=None)
    for section, what in SECTIONS.items():
        if section in counts:
            merged = "; several may become one" if section in remapping.merge else ""
            table.add_row(section, str(counts[section]), f"{what}{merged}")
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"[green]nothing is wrong[/] with {escape(str(file))}", highlight=False)


def explain(
    file: File,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A name at the source, of any kind.")],
    section: Annotated[
        str | None, typer.Option("--as", metavar="SECTION", help=f"Only as one of {', '.join(SECTIONS)}.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Tell which rule is about a name, and what the name becomes.

    [bold]Examples[/]

    engine map explain names.yaml val_loss --as metrics

    engine map explain names.yaml old-team/vision
    """
    if section is not None and section not in SECTIONS:
        raise typer.BadParameter(f"write one of {', '.join(SECTIONS)}", param_hint="--as")
    remapping = read_mapping(file)
    found = {
        name: _rule_about(key, remapping[name])
        for name in ((section,) if section else SECTIONS)
        if remapping[name] or section
    }
    if json:
        told = {
            name: None if hit is None else {"line": hit[0].line, "rule": hit[0].old, "becomes": hit[1]}
            for name, hit in found.items()
        }
        typer.echo(jsonlib.dumps({"type": "explained", "key": key, "sections": told}))
        return
    console = Console(soft_wrap=True, highlight=False)
    table = Table("as one of", "becomes", "by", box=None)
    for name, hit in found.items():
        table.add_row(name, *(("[dim]itself[/]", "no rule") if hit is None else _told(*hit)))
    console.print(table)


def _rule_about(name: str, rules: Rules) -> tuple[Rule, str] | None:
    """The rule that counts; of a project it may name the entity, or leave it out."""
    if (found := rules.find(name)) is None and rules.section == NAMESPACES and name.count("/") == 1:
        return rules.find(name.partition("/")[2])
    return found


def _told(rule: Rule, becomes: str) -> tuple[str, str]:
    return f"[bold]{escape(becomes)}[/]", escape(f"line {rule.line}: {rule.old} → {rule.new}")


for _command in (check, explain):
    app.command(help=flowing(_command))(_command)
