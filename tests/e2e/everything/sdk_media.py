"""Media of every kind that the official SDK logs, each in a history, many in cells of a table too."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import wandb
from bokeh.plotting import figure
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from wandb.sdk.data_types.graph import Node
from wandb.sdk.data_types.trace_tree import Span, SpanKind, WBTraceTree

PROJECT = "media"


def media(directory: Path) -> None:
    """All kinds, but those that need a neural network: saved models and graphs of Keras."""
    files = _Files(directory)
    with wandb.init(project=PROJECT, id="media", config={"kinds": "all"}) as run:
        run.define_metric("scores/*", step_metric="epoch")
        run.log({"image": _masked(), "images": [wandb.Image(_pixels(n), caption=f"{n}") for n in range(3)]})
        run.log(
            {
                "audio": wandb.Audio(files.tone, caption="a tone"),
                "video": wandb.Video(files.clip, caption="a clip"),
                "molecule": wandb.Molecule(files.water, caption="water"),
                "mesh": wandb.Object3D(files.mesh),
                "points": wandb.Object3D(np.arange(12.0).reshape(4, 3)),
                "scene": _scene(),
                "html": wandb.Html("<p>Größe: <b>1</b></p>"),
                "histogram": wandb.Histogram(np_histogram=([1, 0, 3], [0.0, 0.5, 1.0, 1.5])),
                "graph": _graph(),
                "trace": WBTraceTree(Span("root", span_kind=SpanKind.CHAIN, attributes={"n": 1}), {"a": "b"}),
            }
        )
        run.log({"photos": [wandb.Image(_pixels(n), file_type="jpg") for n in range(2)]})
        run.log({"pages": [wandb.Html(f"<p>{n}</p>") for n in range(2)]})
        run.log({"plotly": _plotted(), "bokeh": wandb.data_types.Bokeh(_drawn()), "matplotlib": _figure()})
        run.log({"picture": wandb.Image(_figure())})
        _table_of_media(run, files)
        _charts(run)
        for epoch in range(3):
            run.log({"epoch": epoch, "scores/f1": epoch / 3})
        _tables(run)


class _Files:
    """What is logged by its path."""

    def __init__(self, directory: Path) -> None:
        self.clip = _written(directory / "clip.gif", b"GIF89a" + bytes(30))
        self.water = _written(directory / "water.pdb", b"HETATM    1  O   HOH\nEND\n")
        self.mesh = _written(directory / "mesh.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        self.tone = str(directory / "tone.wav")
        with wave.open(self.tone, "wb") as sound:
            sound.setparams((1, 1, 8_000, 0, "NONE", ""))
            sound.writeframes(bytes(range(200)))


def _table_of_media(run: wandb.Run, files: _Files) -> None:
    rows = [[n, wandb.Image(_pixels(n)), f"row {n}", None if n else float("nan")] for n in range(3)]
    table = wandb.Table(columns=["id", "image", "text", "value"], data=rows, allow_mixed_types=True)
    run.log({"table": table, "deep": {"table": wandb.Table(columns=["x"], data=[[1], [2]])}})
    cells = {
        "image": _masked(),
        "audio": wandb.Audio(files.tone),
        "video": wandb.Video(files.clip),
        "molecule": wandb.Molecule(files.water),
        "points": wandb.Object3D(np.arange(6.0).reshape(2, 3)),
        "html": wandb.Html("<i>cell</i>"),
        "plotly": wandb.Plotly(_plotted()),
        "bokeh": wandb.data_types.Bokeh(_drawn()),
        "numbers": [1, 2, 3],
        "object": {"a": 1},
    }
    run.log({"cells": wandb.Table(columns=[*cells], data=[[*cells.values()]])})
    growing = wandb.Table(columns=["n"], log_mode="INCREMENTAL")
    changing = wandb.Table(columns=["n"], log_mode="MUTABLE")
    for number in range(2):
        growing.add_data(number)
        changing.add_data(number)
        run.log({"growing": growing, "changing": changing})


def _charts(run: wandb.Run) -> None:
    """All of ``wandb.plot``."""
    points = wandb.Table(columns=["x", "y"], data=[[n, n * n] for n in range(5)])
    truth, guesses = [0, 1, 1, 0], [0, 1, 0, 0]
    sure = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
    run.log(
        {
            "curve": wandb.plot.line(points, "x", "y", title="A curve"),
            "bars": wandb.plot.bar(points, "x", "y"),
            "scatter": wandb.plot.scatter(points, "x", "y"),
            "spread": wandb.plot.histogram(points, "y"),
            "series": wandb.plot.line_series([0, 1], [[1, 2], [3, 4]], keys=["a", "b"]),
            "confusion": wandb.plot.confusion_matrix(y_true=truth, preds=guesses, class_names=["cat", "dog"]),
            "roc": wandb.plot.roc_curve(truth, sure, labels=["cat", "dog"]),
            "pr": wandb.plot.pr_curve(truth, sure, labels=["cat", "dog"]),
        }
    )


def _tables(run: wandb.Run) -> None:
    """Tables in artifacts: joined, in parts, and in other artifacts by reference."""
    left = wandb.Table(columns=["id", "image"], data=[[n, wandb.Image(_pixels(n))] for n in range(2)])
    right = wandb.Table(columns=["id", "label"], data=[[n, f"label {n}"] for n in range(2)])
    tables = wandb.Artifact("tables", "dataset")
    tables.add(left, "left")
    tables.add(right, "right")
    tables.add(wandb.data_types.JoinedTable(left, right, "id"), "joined")
    for part in range(2):
        tables.add(wandb.Table(columns=["id"], data=[[part]]), f"parts/{part}")
    tables.add(wandb.data_types.PartitionedTable("parts"), "whole")
    tables.add(_masked(), "masked")
    # A draft has no id of the server yet, so that this refers to it by the id that the client made up.
    follower = wandb.Artifact("follower", "dataset")
    follower.add(right, "borrowed")
    run.log_artifact(tables, aliases=["curated"]).wait()
    run.log_artifact(follower).wait()
    run.link_artifact(tables, f"{run.entity}/{PROJECT}/picked", aliases=["chosen"])

    logged = run.use_artifact("tables:latest")
    joins = wandb.Artifact("joins", "dataset")
    joins.add(wandb.data_types.JoinedTable(logged.get("left"), logged.get("right"), "id"), "again")
    run.log_artifact(joins).wait()
    run.log({"joined": logged.get("joined"), "whole": logged.get("whole"), "borrowed": logged.get("right")})


def _pixels(shade: int) -> np.ndarray:
    return np.full((6, 6, 3), shade * 40, np.uint8)


def _masked() -> wandb.Image:
    labels = {0: "nothing", 1: "something"}
    box = {
        "position": {"minX": 0.1, "maxX": 0.5, "minY": 0.2, "maxY": 0.8},
        "class_id": 1,
        "box_caption": "found",
        "scores": {"certainty": 0.9},
    }
    return wandb.Image(
        _pixels(5),
        caption="masked",
        masks={"truth": {"mask_data": np.eye(6, dtype=np.uint8), "class_labels": labels}},
        boxes={"found": {"box_data": [box], "class_labels": labels}},
        classes=wandb.data_types.Classes([{"id": number, "name": name} for number, name in labels.items()]),
    )


def _scene() -> wandb.Object3D:
    corners = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    box = {"corners": corners, "label": "car", "color": [255, 0, 0]}
    return wandb.Object3D(
        {
            "type": "lidar/beta",
            "points": np.zeros((2, 3)),
            "boxes": np.array([box]),
            "vectors": np.array([{"start": [0, 0, 0], "end": [1, 1, 1]}]),
        }
    )


def _graph() -> wandb.Graph:
    graph = wandb.Graph()
    first, second = (graph.add_node(Node(id=n, name=f"layer {n}", class_name="Dense")) for n in range(2))
    graph.add_edge(first, second)
    return graph


def _plotted() -> go.Figure:
    return go.Figure(go.Scatter(x=[1, 2, 3], y=[3, 1, 2]), layout={"title": {"text": "Größe"}})


def _drawn() -> figure:
    drawn = figure(title="drawn")
    drawn.line([1, 2, 3], [3, 1, 2])
    return drawn


def _figure() -> Figure:
    drawn: Figure = plt.figure(figsize=(1, 1))
    drawn.subplots().plot([1, 3, 2])
    return drawn


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)
