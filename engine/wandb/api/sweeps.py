"""Sweeps: their search, their runs, the best of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import cached_property

from engine.errors import ConfigError, NotFound
from engine.records import Json, Namespace
from engine.wandb.api import documents
from engine.wandb.api.asking import page_size
from engine.wandb.api.errors import streaming_comm_errors
from engine.wandb.api.placed import InProject
from engine.wandb.api.run import Run
from engine.wandb.api.runs import PER_PAGE, Runs
from engine.wandb.api.session import Session
from engine.wandb.api.times import utc
from engine.wandb.reading.pages import pages
from engine.wandb.reading.runs import project_url


class Sweep(InProject):
    """A search over hyperparameters."""

    def __init__(self, session: Session, node: Mapping[str, Json], namespace: Namespace) -> None:
        self._session = session
        self._node = node
        self.namespace = namespace

    @property
    def id(self) -> str:
        """The short id, the last part of its address."""
        return str(self._node["name"])

    @property
    def name(self) -> str:
        """What people call it."""
        return self._node.get("displayName") or self.config.get("name") or self.id

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def url(self) -> str:
        """Where a browser shows it."""
        return f"{project_url(self._session.client.base_url, self.namespace)}/sweeps/{self.id}"

    @property
    def state(self) -> str:
        """``PENDING``, ``RUNNING``, ``PAUSED``, ``FINISHED`` or ``CANCELED``."""
        return str(self._node["state"])

    @property
    def created_at(self) -> str:
        return utc(self._node["createdAt"])

    @property
    def best_loss(self) -> float | None:
        return self._node.get("bestLoss")

    @property
    def run_count(self) -> int:
        return int(self._node["runCount"])

    @property
    def expected_run_count(self) -> int | None:
        """How many runs it will have; None if there is no end to it."""
        return self._node.get("runCountExpected")

    @cached_property
    def config(self) -> dict[str, Json]:
        """How it searches; ``config["metric"]`` says for what."""
        import yaml  # here, because few ask for it

        return yaml.safe_load(self._node["config"]) or {}

    @property
    def order(self) -> str | None:
        """The best first, by the metric of its config; None if that has none."""
        metric = self.config.get("metric")
        if not metric or not metric.get("name"):
            return None
        sign = "-" if metric.get("goal", "minimize") == "maximize" else "+"
        return f"{sign}summary_metrics.{metric['name']}"

    def runs(self, *, order: str = "+created_at", per_page: int = PER_PAGE) -> Runs:
        """Its runs."""
        return Runs(self._session, self.namespace, {"sweep": self.id}, order, per_page)

    async def best_run(self, order: str | None = None) -> Run | None:
        """The run that is best by ``order``, or by the metric of the config; None without any.

        Runs that have no value of the metric come last, wherever the server puts them.

        Raises:
            ConfigError: there is neither an order nor a metric.
        """
        order = order or self.order
        if order is None:
            raise ConfigError("the sweep has no metric", subject=f"sweep {self.id}", remedy="give an order")
        filters: dict[str, Json] = {"sweep": self.id}
        key = order.lstrip("+-")
        if key.startswith("summary"):
            filters[key] = {"$exists": True}
        return await Runs(self._session, self.namespace, filters, order, 1).first()

    def __repr__(self) -> str:
        return f"<Sweep {self.namespace}/{self.id} ({self.state})>"


async def find_sweep(session: Session, namespace: Namespace, sweep: str) -> Sweep:
    """One sweep.

    Raises:
        NotFound: there is none of this id.
    """
    subject = f"sweep {namespace}/{sweep}"
    variables = {"entity": namespace.entity, "project": namespace.project, "sweep": sweep}
    data = await session.client.graphql(documents.SWEEP, variables, subject)
    node = (data.get("project") or {}).get("sweep")
    if node is None:
        raise NotFound("not there, or not open to you", side=session.client.side, subject=subject)
    return Sweep(session, node, namespace)


@streaming_comm_errors
async def list_sweeps(session: Session, namespace: Namespace, per_page: int) -> AsyncGenerator[Sweep]:
    """The sweeps of a project."""
    variables = {"entity": namespace.entity, "project": namespace.project, "perPage": page_size(per_page)}
    found = pages(
        session.client,
        documents.SWEEPS,
        variables,
        lambda data: (data.get("project") or {}).get("sweeps"),
        f"sweeps of {namespace}",
    )
    async with aclosing(found):
        async for page in found:
            for node in page:
                yield Sweep(session, node, namespace)
