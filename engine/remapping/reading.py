"""Reads a mapping from a YAML file, and tells all that is wrong with it at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.errors import ConfigError, EngineError, PreflightError
from engine.remapping.rules import (
    MERGEABLE,
    MERGING,
    NAMESPACES,
    REFERENCES,
    SECTIONS,
    Remapping,
    Rule,
    Rules,
)
from engine.selection import REGEX

VERSION: Final = "1"
KEYS: Final = ("version", *SECTIONS, "merge")


def read_mapping(path: Path) -> Remapping:
    """The mapping in a file.

    Raises:
        ConfigError: it cannot be read, or one thing in it is wrong.
        PreflightError: several things in it are wrong; each is told with its line.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the mapping cannot be read: {error}", subject=str(path), remedy="name a YAML file", exc=error
        ) from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, name: str = "mapping") -> Remapping:
    """The mapping in a text.

    Args:
        name: of the file, for people.

    Raises:
        ConfigError, PreflightError: as ``read_mapping``.
    """
    reader = _Reader(name)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(
            f"line {line}: {error.problem}", subject=name, remedy="see docs/remapping.md"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"this is no YAML: {error}", subject=name, remedy="see docs/remapping.md") from None
    mapping = reader.mapping(root)
    if len(reader.errors) == 1:
        raise reader.errors[0]
    if reader.errors:
        raise PreflightError(reader.errors)
    return mapping


class _Reader:
    """Reads on after an error, so that one look at the file is enough."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.errors: list[EngineError] = []

    def _wrong(self, node: Node | None, message: str, remedy: str | None = None) -> None:
        line = node.start_mark.line + 1 if node is not None and node.start_mark else 1
        self.errors.append(ConfigError(f"line {line}: {message}", subject=self._name, remedy=remedy))

    def mapping(self, root: Node | None) -> Remapping:
        sections: dict[str, Rules] = {}
        merge: frozenset[str] = frozenset()
        keys = dict(self._pairs(root, "the mapping"))
        if root is None or "version" not in {key.value for key in keys}:
            self._wrong(root, "it does not say its version", f"begin with version: {VERSION}")
        for key, node in keys.items():
            if key.value in SECTIONS:
                sections[key.value] = Rules(key.value, tuple(self._rules(key.value, node)))
            elif key.value == "merge":
                merge = frozenset(self._merge(node))
            elif key.value != "version":
                self._wrong(key, f"there is no section {key.value!r}", _nearest(key.value, KEYS))
            elif not isinstance(node, ScalarNode) or node.value != VERSION:
                told = node.value if isinstance(node, ScalarNode) else "this"
                self._wrong(
                    node,
                    f"version {told} is not known",
                    f"this engine reads version {VERSION}; is it too old?",
                )
        for section, rules in sections.items():
            if section not in merge | MERGING:
                self._no_two_to_one(section, rules, keys)
        return Remapping(sections, merge)

    def _pairs(self, node: Node | None, what: str) -> Iterator[tuple[ScalarNode, Node]]:
        """Keys and values, each key once."""
        if node is None or (isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
            return
        if not isinstance(node, MappingNode):
            self._wrong(node, f"{what} is not made of pairs", "write OLD: NEW, each on a line of its own")
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._wrong(key, "a name is a text", "put it in quotes")
            elif key.value in seen:
                self._wrong(
                    key, f"{key.value!r} stands here again, after line {seen[key.value]}", "leave one of them"
                )
            else:
                seen[key.value] = key.start_mark.line + 1 if key.start_mark else 0
                yield key, value

    def _rules(self, section: str, node: Node) -> Iterator[Rule]:
        for key, value in self._pairs(node, f"section {section!r}"):
            if not isinstance(value, ScalarNode) or value.tag == "tag:yaml.org,2002:null" or not value.value:
                self._wrong(value, f"{key.value!r} has no new name", "write OLD: NEW")
            elif not key.value:
                self._wrong(key, "the old name is empty", "write OLD: NEW")
            elif (rule := self._rule(section, key, value)) is not None:
                yield rule

    def _rule(self, section: str, key: ScalarNode, value: ScalarNode) -> Rule | None:
        old, new, line = key.value, value.value, key.start_mark.line + 1 if key.start_mark else 0
        if section == NAMESPACES and (new.count("/") > 1 or "" in new.split("/")):
            self._wrong(value, f"{new!r} is no place", "write entity/project or project")
            return None
        pattern = None
        if old.startswith(REGEX):
            try:
                pattern = re.compile(old.removeprefix(REGEX))
            except re.error as error:
                self._wrong(
                    key, f"{old!r} is no regular expression: {error}", "see the syntax of Python's re"
                )
                return None
            try:
                # Looked through even if nothing matches.
                pattern.sub(new, "")
            except (re.error, IndexError) as error:
                self._wrong(
                    value, f"{new!r} does not fit its pattern: {error}", "write \\\\ for a backslash itself"
                )
                return None
        return Rule(old, new, line, is_prefix=section == REFERENCES, pattern=pattern)

    def _merge(self, node: Node) -> Iterator[str]:
        if not isinstance(node, SequenceNode):
            self._wrong(node, "'merge' is a list of sections", "write merge: [metrics]")
            return
        for item in node.value:
            named = item.value if isinstance(item, ScalarNode) else ""
            if named in MERGEABLE:
                yield named
            else:
                self._wrong(item, f"there is no section {named!r} to merge", _nearest(named, MERGEABLE))

    def _no_two_to_one(self, section: str, rules: Rules, keys: dict[ScalarNode, Node]) -> None:
        first: dict[str, Rule] = {}
        nodes = {
            key.value: key
            for name, node in keys.items()
            if name.value == section and isinstance(node, MappingNode)
            for key, _ in node.value
        }
        for rule in rules.rules:
            if rule.is_pattern:
                continue
            remedy = f"write merge: [{section}] if they are the same thing" if section in MERGEABLE else None
            if (other := first.setdefault(rule.new, rule)) is not rule:
                self._wrong(
                    nodes[rule.old],
                    f"{rule.old!r} and {other.old!r} (line {other.line}) would both become {rule.new!r}",
                    f"choose another name{f', or {remedy}' if remedy else ''}",
                )


def _nearest(word: str, words: Iterable[str]) -> str:
    words = list(words)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(words)}"
