"""Rules that give names, and the mapping that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from engine.fingerprints import fingerprint
from engine.selection import REGEX

NAMESPACES: Final = "namespaces"
USERS: Final = "users"
TAGS: Final = "tags"
CONFIG: Final = "config"
METRICS: Final = "metrics"
ARTIFACTS: Final = "artifacts"
ALIASES: Final = "aliases"
REFERENCES: Final = "references"

SECTIONS: Final[Mapping[str, str]] = {
    NAMESPACES: "where a project goes: entity/project, or the name of an experiment",
    USERS: "who made a run, as its provenance tells",
    TAGS: "a tag of a run or of an artifact, or the key of an MLflow tag",
    CONFIG: "a key of a config, a param",
    METRICS: "a key of a history and of a summary",
    ARTIFACTS: "the name of an artifact",
    ALIASES: "an alias of an artifact",
    REFERENCES: "the beginning of the URI of a reference in an artifact",
}
"""What can be given other names, in the order in which it is told."""

MERGING: Final = frozenset({USERS, REFERENCES})
"""Sections in which several names may become one without anything being lost."""

MERGEABLE: Final = (NAMESPACES, TAGS, CONFIG, METRICS)
"""Sections in which they may if the mapping says so: different runs may have called one thing differently."""

RENAMED: Final[Mapping[str, str]] = {
    USERS: "user_renamed",
    TAGS: "tag_renamed",
    CONFIG: "config_renamed",
    METRICS: "metric_renamed",
    ARTIFACTS: "artifact_renamed",
    ALIASES: "alias_renamed",
    REFERENCES: "reference_renamed",
}
"""The kind under which a new name is declared."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``old`` becomes ``new``.

    Attributes:
        old: a name; ``re:`` and a regular expression that the whole name has to match; in ``references`` the
            beginning of a URI.
        new: the new name; after a pattern, ``\\1`` and ``\\g<name>`` are what its groups matched.
        line: where it stands in its file, from 1.
    """

    old: str
    new: str
    line: int = 0
    is_prefix: bool = False
    pattern: re.Pattern[str] | None = field(default=None, repr=False, compare=False)

    def apply(self, name: str) -> str | None:
        """The new name; None if the rule is not about this one."""
        if self.pattern is not None:
            match = self.pattern.match(name) if self.is_prefix else self.pattern.fullmatch(name)
            return None if match is None else match.expand(self.new) + name[match.end() :]
        if self.is_prefix:
            return self.new + name[len(self.old) :] if name.startswith(self.old) else None
        return self.new if name == self.old else None

    @property
    def is_pattern(self) -> bool:
        return self.old.startswith(REGEX)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one section, of which the first that fits counts."""

    section: str
    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def find(self, name: str) -> tuple[Rule, str] | None:
        """The rule that is about a name, and what it makes of it."""
        for rule in self.rules:
            if (new := rule.apply(name)) is not None:
                return rule, new
        return None

    def of(self, name: str) -> str:
        """What a name becomes; itself if no rule is about it."""
        found = self.find(name)
        return name if found is None else found[1]

    @property
    def targets(self) -> frozenset[str]:
        """The new names that are known without knowing the old ones."""
        return frozenset(rule.new for rule in self.rules if not rule.is_pattern)


@dataclass(frozen=True)
class Remapping:
    """All rules of a mapping.

    Attributes:
        sections: by name; one that is not there renames nothing.
        merge: sections in which different names may become one.
    """

    sections: Mapping[str, Rules] = field(default_factory=dict)
    merge: frozenset[str] = frozenset()

    def __getitem__(self, section: str) -> Rules:
        return self.sections.get(section, Rules(section))

    @property
    def renames(self) -> bool:
        """Whether anything but a place is renamed."""
        return any(rules for section, rules in self.sections.items() if section != NAMESPACES)

    @cached_property
    def fingerprint(self) -> str:
        """Another one if anything but a place is renamed otherwise."""
        return fingerprint(
            *(
                [section, [[rule.old, rule.new] for rule in self[section].rules]]
                for section in SECTIONS
                if section != NAMESPACES and self[section]
            )
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds under which what was asked for here is declared."""
        return frozenset(kind for section, kind in RENAMED.items() if self[section])

    def places(self, remap: Mapping[str, str]) -> Places:
        """Where namespaces go: first as ``remap`` says, then as these rules do."""
        return Places(remap, self[NAMESPACES])


class Places(Mapping[str, str]):
    """As ``Context.remap``. Only the names that somebody gave are listed; a pattern fits any number."""

    def __init__(self, given: Mapping[str, str], rules: Rules) -> None:
        self._given = given
        self._rules = rules

    def __getitem__(self, name: str) -> str:
        if name in self._given:
            return self._given[name]
        if (found := self._rules.find(name)) is None:
            raise KeyError(name)
        return found[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)
