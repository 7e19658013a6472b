"""Looks again at a destination of which a certificate tells; the source is not needed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import anyio

from engine.errors import EngineError
from engine.fanout import for_each
from engine.protocols import Destination, Unreadable
from engine.records import Namespace, Run
from engine.transfer.background import Background
from engine.verify.audit import Audit, audit_of
from engine.verify.certificate import Certificate, CertifiedRun
from engine.verify.findings import Difference, Differs, Findings, NotVerified, Verifying
from engine.verify.objects import read_back
from engine.verify.runs import roots_of
from engine.verify.scope import is_fatal
from engine.verify.verifier import LOOKED_UP, PROGRESS_EVERY_S, Emit, VerifyOptions, opened_context

_SAYS = {
    "run": "what is said of it is not what it was",
    "history": "its history is not what it was",
    "logs": "its system metrics or its console are not what they were",
    "files": "its files are not what they were",
    "artifacts": "its artifacts are not what they were",
}


@dataclass(slots=True)
class Recheck:
    """Compares a destination with a certificate of it.

    Args:
        options: of them, ``level``, ``selection`` and ``parts`` are the certificate's.
    """

    certificate: Certificate
    destination: Destination
    options: VerifyOptions
    emit: Emit = lambda _: None

    async def run(self) -> Findings:
        """Look at every run of the certificate.

        Raises:
            EngineError: the destination cannot be used, or is gone.
        """
        told = self.certificate
        findings = Findings(level=told.level, parts=told.parts, began_at=time.time(), source=told.source)
        audit = audit_of(self.destination)
        async with opened_context(self.options) as context:
            context.source = told.source
            findings.declared = context.losses
            async with audit.open(context) as findings.destination, Background() as background:
                background.start_soon(self._tell_progress, findings)
                for batch in _batches(told.runs):
                    findings.runs_found += len(batch)
                    namespace = Namespace.from_path(batch[0].project)
                    there = {run.id: run async for run in audit.runs(namespace, [one.run for one in batch])}
                    jobs = [(run, there.get(run.run)) for run in batch]
                    await for_each(jobs, partial(self._look, findings, audit), limit=self.options.workers)
                await self._look_at_objects(findings, audit)
            findings.requests = context.counters.requests
        findings.root = told.root
        findings.ended_at = time.time()
        for difference in findings.differences:
            self.emit(Differs.of(difference))
        self.emit(Verifying.of(findings))
        return findings

    async def _look(
        self, findings: Findings, audit: Audit, job: tuple[CertifiedRun, Run | Unreadable | None]
    ) -> None:
        certified, found = job
        subject, name = f"run {certified.run}", certified.run
        if found is None:
            findings.differ(
                Difference(
                    kind="missing",
                    part="run",
                    subject=subject,
                    detail=f"is missing in {certified.project}",
                    run=name,
                )
            )
            return
        try:
            if isinstance(found, Unreadable):
                raise found.error
            roots = await roots_of(audit, found, certified.parts, self.certificate.level)
        except EngineError as error:
            if is_fatal(error):
                raise
            findings.leave_out(NotVerified(subject=subject, reason=str(error), run=name))
            return
        for part, root in certified.parts.items():
            if roots.get(part) != root:
                detail = f"{_SAYS[part]} when the certificate was written"
                findings.differ(
                    Difference(kind="changed", part=part, subject=subject, detail=detail, run=name)
                )
        findings.counts.runs += 1

    async def _look_at_objects(self, findings: Findings, audit: Audit) -> None:
        objects = read_back(audit, self.certificate.objects, self.certificate.level)
        async with aclosing(objects):
            async for certified, found in objects:
                subject = f"{certified.kind} {certified.name}"
                if isinstance(found, EngineError):
                    findings.leave_out(NotVerified(subject=subject, reason=str(found)))
                elif found is None or found.root != certified.root:
                    kind, detail = "changed", "it is not what it was when the certificate was written"
                    if found is None:
                        kind, detail = "missing", f"is missing in {certified.project}"
                    findings.differ(
                        Difference(kind=kind, part=certified.kind, subject=subject, detail=detail)
                    )

    async def _tell_progress(self, findings: Findings) -> None:
        while True:
            await anyio.sleep(PROGRESS_EVERY_S)
            self.emit(Verifying.of(findings))


def _batches(runs: Sequence[CertifiedRun]) -> Iterator[list[CertifiedRun]]:
    """Runs of one project, as many as are looked up at once."""
    for _, group in groupby(runs, key=lambda run: run.project):
        together = list(group)
        for start in range(0, len(together), LOOKED_UP):
            yield together[start : start + LOOKED_UP]
