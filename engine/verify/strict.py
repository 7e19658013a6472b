"""``--strict``: changes on the way that nobody accepted are errors.

A value that a destination holds in another form is recorded under a kind: by the transfer, by the
verification, or by an earlier transfer in the run itself. A difference is what no kind explains; it is an
error at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from engine.errors import ConfigError
from engine.records import Loss
from engine.transfer.options import Result
from engine.verify.findings import Findings

_REMEDIES: Final[Mapping[str, str]] = {
    "artifact_root_absent": "say where the artifacts are with --artifact-root OLD=NEW",
    "project_renamed": "choose the name yourself with --remap OLD=NEW",
    "path_refused": "rename the file at the source",
    "row_too_long": "the destination takes no row that long",
}


KINDS: Final = frozenset(
    {
        "alias_dropped",
        "alias_renamed",
        "artifact_renamed",
        "artifact_root_absent",
        "artifact_unfinished",
        "collection_recreated",
        "config_key_renamed",
        "config_oversized",
        "config_renamed",
        "console_label_dropped",
        "console_without_times",
        "custom_chart_left",
        "dataset_missing",
        "digest_changed",
        "experiment_unreadable",
        "file_of_the_server",
        "history_rows_missing",
        "inf_from_dbl_max",
        "key_renamed",
        "link_dropped",
        "link_merged",
        "link_renumbered",
        "listing_moved",
        "listing_unsteady",
        "log_line_too_long",
        "metadata_nested",
        "metric_renamed",
        "name_not_utf8",
        "nul_replaced",
        "origins_mixed",
        "password_redacted",
        "path_refused",
        "path_renamed",
        "portfolio_dropped",
        "producer_missing",
        "project_renamed",
        "projects_merged",
        "reference_kept",
        "reference_renamed",
        "reference_unresolved",
        "registry_dropped",
        "report_file_missing",
        "report_overwritten",
        "report_reference_unresolved",
        "row_too_long",
        "run_id_changed",
        "special_file_skipped",
        "state_not_representable",
        "steps_resequenced",
        "summary_too_long",
        "sweep_dropped",
        "sweep_finished",
        "symlink_skipped",
        "system_metrics_thinned",
        "tag_dropped",
        "tag_renamed",
        "text_not_utf8",
        "timestamp_merged",
        "use_dropped",
        "use_name_dropped",
        "user_renamed",
        "value_coerced",
        "version_deduplicated",
        "workspace_left",
    }
)
"""All kinds under which the systems of this package record a change."""


def check_kinds(accepted: Collection[str]) -> None:
    """Whether there are such kinds.

    Raises:
        ConfigError: there are not, so that nothing would be accepted; the nearest ones are named.
    """
    for kind in sorted({*accepted} - KINDS):
        near = get_close_matches(kind, KINDS, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(
            f"--accept {kind}: there is no such kind of change",
            remedy=f"{meant}there are {', '.join(sorted(KINDS))}",
        )


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """A kind of change that is an error now.

    Attributes:
        remedy: what to do about it.
    """

    kind: str
    count: int
    example: str
    remedy: str


def unaccepted(result: Result, findings: Findings | None, accepted: Collection[str]) -> list[Unaccepted]:
    """Every kind that was recorded and not accepted, by name."""
    sources: list[tuple[Mapping[str, int], Mapping[str, list[Loss]]]] = [
        (result.losses, result.loss_examples)
    ]
    if findings is not None:
        sources += [(ledger.counts, ledger.examples) for ledger in (findings.declared, findings.told)]
    found: dict[str, Unaccepted] = {}
    for counts, examples in sources:
        for kind, count in counts.items():
            if kind in accepted or (kind in found and found[kind].count >= count):
                continue
            first = examples[kind][0]
            accept = f"accept it with --accept {kind}"
            remedy = f"{_REMEDIES[kind]}, or {accept}" if kind in _REMEDIES else accept
            found[kind] = Unaccepted(kind, count, f"{first.subject}: {first.detail}", remedy)
    return [found[kind] for kind in sorted(found)]
