"""Where a report points, told anew for another server.

Only known places of a spec are rewritten: projects of run sets and of Weave panels, runs by their opaque ids,
URLs and ``wandb-artifact://`` references. A pointer to what was not moved is left as it is, and counted.

Source: ``reports/v2/internal.py`` of wandb-workspaces for run sets, filters and blocks.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from engine.records import Json, Namespace
from engine.wandb import addresses, charts
from engine.wandb.addresses import shown_url
from engine.wandb.names import short_hash

RUN_IDS: Final = frozenset({"baselineRunId"})
RUN_ID_LISTS: Final = frozenset({"pinnedRunIds"})
_OPAQUE_RUN: Final = "UnVuOnYx"
"""How ``Run:v1:`` begins in base64."""

_ARTIFACT: Final = re.compile(r"wandb-artifact://(?P<entity>[^/\s]+)/(?P<project>[^/\s]+)/(?=[^/\s]+:)")
_BY_ID: Final = re.compile(
    r"wandb-(?:artifact://[0-9a-fA-F]{16,}|client-artifact://[0-9a-zA-Z]{16,}|(?:client-)?artifact://_(?:latest|run))"
)
_REPORT_LINK: Final = re.compile(r"(?P<path>/reports/[^?#\s)\"]*?--)(?P<id>[A-Za-z0-9_\-]+)")


@dataclass(slots=True, kw_only=True)
class References:
    """The rewriting of one transfer.

    Attributes:
        places: where projects went.
        source_url, url: of both servers, without a slash at the end; the source's is empty if it is none.
        run_id: the id that a run got.
        projects: internal ids of projects at the destination.
        sweeps: names of sweeps at the destination, by namespace and name at the source.
        views: ids of views at the destination, by their ids at the source.
        versions: URIs of artifact versions at the destination, by those that name them by ids of the source.
    """

    places: Mapping[Namespace, Namespace]
    source_url: str
    url: str
    run_id: Callable[[Namespace, str], str]
    projects: dict[Namespace, str] = field(default_factory=dict)
    sweeps: Mapping[tuple[Namespace, str], str] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def of(self, spec: Mapping[str, Json], home: Namespace, files: Container[str] = ()) -> Rewritten:
        """A spec as it has to be at the destination.

        Args:
            home: the project of the view, at the source.
            files: addresses of files that can be brought along, if no run brought them.
        """
        rewriting = _Rewriting(self, home, files)
        return Rewritten(
            rewriting.of(spec),
            rewriting.unresolved,
            rewriting.links,
            rewriting.wanted,
            rewriting.charts,
            rewriting.files,
        )


@dataclass(frozen=True, slots=True)
class Rewritten:
    """
    Attributes:
        unresolved: pointers to what was not moved.
        links: pointers at views that are not known, or not yet.
        wanted: projects at the destination whose internal ids were not known.
        charts: names of custom charts, which stay where they are.
        files: addresses of files that have to be brought along, by their paths in ``run_of_files``.
    """

    spec: dict[str, Json]
    unresolved: Counter[str]
    links: Counter[str]
    wanted: set[Namespace]
    charts: Counter[str]
    files: dict[str, str]


def run_of_files(project: Namespace) -> str:
    """The id of the run that holds the files of a project's reports, which have no place of their own."""
    return f"files-of-reports-{short_hash(project.path, 6)}"


class _Rewriting:
    def __init__(self, references: References, home: Namespace, files: Container[str]) -> None:
        self._all = references
        self._home = home
        self._known_files = files
        self.files: dict[str, str] = {}
        self.unresolved: Counter[str] = Counter()
        self.links: Counter[str] = Counter()
        self.wanted: set[Namespace] = set()
        self.charts: Counter[str] = Counter()
        self._url = addresses.pattern(references.source_url or "no://server")

    def of(self, value: Json) -> Json:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return self._object(value)
        return value

    def _object(self, value: Mapping[str, Json]) -> dict[str, Json]:
        place = self._home
        runset = value.get("project")
        if isinstance(runset, dict) and isinstance(runset.get("entityName"), str) and runset.get("name"):
            place = Namespace(runset["entityName"], runset["name"])
        found = {key: self._field(key, item, place) for key, item in value.items()}
        for names in (("entityName", "name"), ("entityName", "projectName")):
            found |= self._project(value, found, *names)
        if value.get("type") == "report" and isinstance(value.get("id"), str):  # in a gallery
            found["id"] = self._view(value["id"])
        return found

    def _field(self, key: str, value: Json, place: Namespace) -> Json:
        if key in RUN_IDS and isinstance(value, str) and not value.startswith(_OPAQUE_RUN):
            return self._run(place, value)
        if key in RUN_ID_LISTS and isinstance(value, list):
            return [self._field("baselineRunId", item, place) for item in value]
        if key == "selections" and isinstance(value, dict) and isinstance(value.get("tree"), list):
            # Of a grouped run set the tree is made of values, which no run has for an id.
            tree = [self._run(place, item) if isinstance(item, str) else item for item in value["tree"]]
            return {**value, "tree": [self.of(item) for item in tree]}
        if key == "customRunColors" and isinstance(value, dict):
            return {self._run(place, run): self.of(color) for run, color in value.items()}
        if key == "filters":
            return self._filter(value, place)
        if key == charts.DEFINITION and charts.is_own(value):
            self.charts[value] += 1
        if key == "ids" and isinstance(value, list):  # of an old gallery
            return [self._view(item) if isinstance(item, str) else item for item in value]
        return self.of(value)

    # -- projects --------------------------------------------------------------------------------

    def _project(
        self, value: Mapping[str, Json], found: Mapping[str, Json], entity: str, project: str
    ) -> dict[str, Json]:
        """New names of a project, if that is what an object tells; plain ones, or constants of a panel."""
        named = _name(value.get(entity)), _name(value.get(project))
        if named[0] is None or named[1] is None:
            return {}
        source = Namespace(named[0], named[1])
        target = self._all.places.get(source)
        if target is None:
            self.unresolved[f"project {source}"] += 1
            return {}
        renamed = {
            entity: _renamed(found[entity], target.entity),
            project: _renamed(found[project], target.project),
        }
        if value.get("id") is not None and project == "name":
            if target in self._all.projects:
                renamed["id"] = self._all.projects[target]
            else:
                self.wanted.add(target)
        return renamed

    # -- runs and sweeps -------------------------------------------------------------------------

    def _run(self, place: Namespace, run: str) -> str:
        return self._all.run_id(place, run) if place in self._all.places else run

    def _filter(self, value: Json, place: Namespace) -> Json:
        """A filter on names of runs or of sweeps, at any depth."""
        if isinstance(value, list):
            return [self._filter(item, place) for item in value]
        if not isinstance(value, dict):
            return self.of(value)
        key = value.get("key")
        wanted = key.get("name") if isinstance(key, dict) and key.get("section") == "run" else None
        if wanted in ("name", "sweep") and "value" in value:
            return {**value, "value": self._values(value["value"], place, is_sweep=wanted == "sweep")}
        return {
            name: self._filter(item, place) if name == "filters" else self.of(item)
            for name, item in value.items()
        }

    def _values(self, value: Json, place: Namespace, *, is_sweep: bool) -> Json:
        if isinstance(value, list):
            return [self._values(item, place, is_sweep=is_sweep) for item in value]
        if not isinstance(value, str):
            return value
        return self._all.sweeps.get((place, value), value) if is_sweep else self._run(place, value)

    # -- texts -----------------------------------------------------------------------------------

    def _text(self, text: str) -> str:
        if text.startswith(_OPAQUE_RUN):
            return self._opaque(text)
        if "://" not in text:
            return text
        text = _ARTIFACT.sub(self._artifact, _BY_ID.sub(self._version, text))
        return self._url.sub(self._address, text)

    def _opaque(self, text: str) -> str:
        """``Run:v1:<name>:<project>:<entity>`` in base64, as servers name runs."""
        try:
            kind, version, run, project, entity = base64.b64decode(text, validate=True).decode().split(":")
        except (binascii.Error, ValueError):
            return text
        source = Namespace(entity, project)
        if (target := self._all.places.get(source)) is None:
            self.unresolved[f"run {source}/{run}"] += 1
            return text
        told = (kind, version, self._run(source, run), target.project, target.entity)
        return base64.b64encode(":".join(told).encode()).decode()

    def _version(self, match: re.Match[str]) -> str:
        if (found := self._all.versions.get(match[0])) is None:
            self.unresolved[f"artifact {match[0]}"] += 1
            return match[0]
        return found

    def _artifact(self, match: re.Match[str]) -> str:
        source = Namespace(match["entity"], match["project"])
        if (target := self._all.places.get(source)) is None:
            self.unresolved[f"artifact {match[0]}"] += 1
            return match[0]
        return f"wandb-artifact://{target.entity}/{target.project}/"

    def _address(self, match: re.Match[str]) -> str:
        """A URL of the source server: of its pages, or of a file of a run."""
        path, mark, query = match["rest"].partition("?")
        prefix, parts = "", path.strip("/").split("/")
        if parts[0] == "files":
            prefix, parts = "/files", parts[1:]
        source = Namespace(unquote(parts[0]), unquote(parts[1])) if len(parts) > 1 else None
        target = self._all.places.get(source) if source is not None else None
        if target is None and match[0] in self._known_files:
            return self._file(match[0], path)
        if source is None or target is None:
            self.unresolved[f"address {urlsplit(match[0])._replace(query='').geturl()}"] += 1
            return match[0]
        if (link := _REPORT_LINK.search(path)) is not None and not self._is_there(link["id"]):
            return match[0]
        rest = parts[2:]
        position = 0 if prefix else 1
        if (prefix or rest[:1] == ["runs"]) and len(rest) > position:
            rest[position] = quote(self._run(source, unquote(rest[position])), safe="")
        told = "/".join([prefix, quote(target.entity, safe=""), quote(target.project, safe=""), *rest])
        told = _REPORT_LINK.sub(lambda link: link["path"] + self._view_in_url(link["id"]), told)
        base = self._all.url if prefix else shown_url(self._all.url)
        return f"{base}{told if told.startswith('/') else '/' + told}{mark}{query}"

    def _file(self, address: str, path: str) -> str:
        """Where a file will be that comes along with the report."""
        plain = re.sub(r"[^\w.-]+", "-", unquote(path.rpartition("/")[2]))[-80:].lstrip(".")
        name = f"media/{short_hash(address, 12)}-{plain}"
        self.files[name] = address
        place = self._all.places[self._home]
        parts = (place.entity, place.project, self._run(self._home, run_of_files(self._home)), name)
        return f"{self._all.url}/files/{'/'.join(quote(part) for part in parts)}"

    # -- views -----------------------------------------------------------------------------------

    def _view_in_url(self, shown: str) -> str:
        """Addresses have the id without the padding of base64."""
        return self._view(_padded(shown)).rstrip("=")

    def _is_there(self, shown: str) -> bool:
        """Whether a view is at the destination, where it may have the id that it had; noted if not."""
        self._view(_padded(shown))
        return _padded(shown) in self._all.views

    def _view(self, view_id: str) -> str:
        if (found := self._all.views.get(view_id)) is None:
            self.links[f"report {view_id}"] += 1
            return view_id
        return found


def _padded(shown: str) -> str:
    return shown + "=" * (-len(shown) % 4)


def _name(value: Json) -> str | None:
    """A name, plain or as the constant of a panel."""
    if isinstance(value, dict) and value.get("nodeType") == "const":
        value = value.get("val")
    return value if isinstance(value, str) and value else None


def _renamed(value: Json, name: str) -> Json:
    return {**value, "val": name} if isinstance(value, dict) else name
