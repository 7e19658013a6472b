"""Samples of histories: quick to get, and never called the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError
from engine.records import Json
from engine.records import Run as RunRecord
from engine.wandb.api import documents
from engine.wandb.api.asking import whole_number
from engine.wandb.api.session import Session
from engine.wandb.jsontext import encode_json
from engine.wandb.reading.pages import address, of_run
from engine.wandb.reading.values import parse

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Json]
STREAMS = ("default", "events", "system")


class Sample(list[Row]):
    """Some rows of a history, as the server chose them.

    Attributes:
        requested: how many were asked for.
        there: how many rows the run has, None if that is not told.
    """

    def __init__(self, rows: Iterable[Row], *, requested: int, there: int | None) -> None:
        super().__init__(rows)
        self.requested = requested
        self.there = there

    @property
    def is_complete(self) -> bool:
        """Whether it happens to be everything."""
        return self.there is not None and len(self) >= self.there

    @property
    def label(self) -> dict[str, Json]:
        """What it is, for people who find it later."""
        return {
            "sampled": not self.is_complete,
            "rows": len(self),
            "requested": self.requested,
            "rows_of_run": self.there,
        }

    def to_pandas(self) -> pd.DataFrame:
        """A frame with ``label`` in its ``attrs``."""
        import pandas as pd

        frame = pd.DataFrame.from_records(list(self))
        frame.attrs.update(self.label)
        return frame


def checked_keys(keys: object) -> list[str]:
    """Names of metrics, each once.

    Raises:
        ConfigError: they are no list of texts.
    """
    if keys is None:
        return []
    named: list[Any] = (
        list(keys) if isinstance(keys, Iterable) and not isinstance(keys, (str, bytes)) else [None]
    )
    if not all(isinstance(key, str) for key in named):
        raise ConfigError(f"keys must be a list of names, not {keys!r}", remedy='for example keys=["loss"]')
    return list(dict.fromkeys(named))


async def sample(
    session: Session,
    run: RunRecord,
    samples: int,
    keys: Sequence[str] | None,
    x_axis: str,
    stream: str,
) -> Sample:
    """Ask for some rows of a history or of the system metrics.

    Raises:
        ConfigError: what is asked for makes no sense.
    """
    wanted = checked_keys(keys)
    whole_number("samples", samples, least=1)
    checked_keys([x_axis])
    if stream not in STREAMS:
        raise ConfigError(f"there is no stream {stream!r}", remedy=f"name one of {', '.join(STREAMS)}")
    if stream != "default" and wanted:
        raise ConfigError("keys can be chosen of the default stream only", remedy="leave out keys")
    subject = f"history of run {run.id}"
    if wanted:
        spec = {"keys": list(dict.fromkeys([x_axis, *wanted])), "samples": samples}
        variables = {**address(run), "spec": encode_json(spec)}
        data = await session.client.graphql(documents.VALUES_SAMPLE, variables, subject)
        answer = of_run(data, subject, session.client)
        return Sample(answer["sampledHistory"][0], requested=samples, there=answer.get("historyLineCount"))
    field, document = (
        ("history", documents.HISTORY_SAMPLE) if stream == "default" else ("events", documents.EVENTS_SAMPLE)
    )
    data = await session.client.graphql(document, {**address(run), "samples": samples}, subject)
    answer = of_run(data, subject, session.client)
    rows = [parse(line) for line in answer[field]]
    return Sample(rows, requested=samples, there=answer.get(f"{field}LineCount"))
