"""Fills a server with portfolios by the official SDK: ``python -m tests.e2e.sdk_links DIR``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import wandb

PROJECT, OTHER = "linked", "elsewhere"
REGISTRY, CLOSED = "data", "closed"
UNUSED = "unused"
CURATED, PICKED = f"wandb-registry-{REGISTRY}/curated", "my picks"


def logged(project: str, name: str, count: int, kind: str = "dataset") -> list[wandb.Artifact]:
    with wandb.init(project=project) as run:
        made = []
        for number in range(count):
            artifact = wandb.Artifact(name, kind)
            with artifact.new_file("text.txt") as file:
                file.write(f"{name} {number}")
            made.append(run.log_artifact(artifact).wait())
    return made


def describe(api: wandb.Api, kind: str, path: str, description: str, tags: list[str]) -> None:
    collection = api.artifact_collection(kind, path)
    collection.description, collection.tags = description, tags
    collection.save()


def main(directory: Path) -> None:
    os.chdir(directory)
    api = wandb.Api()
    api.create_registry(
        name=REGISTRY,
        visibility="organization",
        organization="sandbox",
        description="data that is fit for use",
        artifact_types=["dataset", "model"],
    )
    ds, more = logged(PROJECT, "ds", 4), logged(PROJECT, "more", 1)
    (foreign,) = logged(OTHER, "foreign", 1)
    # Not in the order of the versions, from two collections, and with numbers that are gone.
    ds[2].link(CURATED, aliases=["gold", "prod"])
    taken_back: Any = ds[3].link(CURATED)
    ds[0].link(CURATED)
    again: Any = ds[1].link(CURATED)
    for link in (taken_back, again):
        link.unlink()
    more[0].link(CURATED, aliases=["silver"])
    describe(api, "dataset", CURATED, "what is fit for use", ["curated", "2026"])
    with wandb.init(project=PROJECT, id="picker") as run:
        run.link_artifact(ds[1], PICKED, aliases=["first"])
        run.link_artifact(foreign, PICKED)
        run.link_artifact(ds[3], PICKED, aliases=["best"])
    describe(api, "dataset", f"{PROJECT}/{PICKED}", "picked by hand", ["hand"])
    # As those are that somebody made and did not come to use, or from which all was taken back.
    for path in (f"wandb-registry-{REGISTRY}/{UNUSED}", f"{PROJECT}/{UNUSED}"):
        only: Any = ds[0].link(path)
        describe(api, "dataset", path, "for later", ["empty"])
        only.unlink()
    api.create_registry(
        name=CLOSED, visibility="restricted", organization="sandbox", description="what is not for all"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
