"""Logs every kind of media with the official SDK; small files are made on the spot."""

from __future__ import annotations

import hashlib
import wave
from pathlib import Path

import numpy as np
import wandb
from PIL import Image

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
MASK = np.array([[0, 0, 1, 1]] * 4, dtype=np.uint8)
CLOUD = [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
HTML = "<p>a <b>page</b></p>"

CUBE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
WATER = (
    "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\n"
    "HETATM    2  H   HOH A   1       0.757   0.586   0.000  1.00  0.00           H\n"
    "END\n"
)


def log_media(directory: Path, project: str) -> dict[str, str]:
    """Log into run ``media``; the SHA-256 of each file that was logged as it is, by key."""
    files = _make_files(directory)
    with wandb.init(project=project, id="media") as run:
        run.log(
            {
                "image": wandb.Image(PIXELS, caption="gradient"),
                "annotated": wandb.Image(
                    PIXELS,
                    masks={"truth": {"mask_data": MASK, "class_labels": {0: "sky", 1: "sea"}}},
                    boxes={
                        "found": {
                            "box_data": [
                                {
                                    "position": {"minX": 0, "maxX": 0.5, "minY": 0, "maxY": 1},
                                    "class_id": 1,
                                    "scores": {"sure": 0.9},
                                }
                            ],
                            "class_labels": {1: "sea"},
                        }
                    },
                ),
                "images": [wandb.Image(PIXELS), wandb.Image(PIXELS[::-1].copy(), caption="upside down")],
                "picture": wandb.Image(str(files["picture"])),
                "audio": wandb.Audio(str(files["audio"]), caption="a tone"),
                "video": wandb.Video(str(files["video"])),
                "html": wandb.Html(HTML, inject=False),
                "cloud": wandb.Object3D(np.array(CLOUD)),
                "object": wandb.Object3D(str(files["object"])),
                "molecule": wandb.Molecule(str(files["molecule"])),
                "histogram": wandb.Histogram(np_histogram=([1, 2], [0.0, 0.5, 1.0])),
            }
        )
        numbers = wandb.Table(
            columns=["x", "y", "ok", "none"], data=[[1, 0.5, True, None], [2, 0.25, False, None]]
        )
        pictures = wandb.Table(columns=["n", "image"])
        for n in range(2):
            pictures.add_data(n, wandb.Image(PIXELS + n))
        run.log({"numbers": numbers, "pictures": pictures})
        curve = wandb.Table(columns=["x", "y"], data=[[1, 2.0], [2, 4.0]])
        run.log({"line": wandb.plot.line(curve, "x", "y", title="Twice")})
        confusion = wandb.plot.confusion_matrix(y_true=[0, 1, 1], preds=[0, 1, 0], class_names=["cat", "dog"])
        run.log({"confusion": confusion})
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}


def _make_files(directory: Path) -> dict[str, Path]:
    files = {
        "picture": directory / "picture.png",
        "audio": directory / "tone.wav",
        "video": directory / "video.gif",
        "object": directory / "triangle.obj",
        "molecule": directory / "water.pdb",
    }
    Image.fromarray(PIXELS).save(files["picture"])
    with wave.open(str(files["audio"]), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes((np.sin(np.arange(800) / 3) * 2**14).astype("<i2").tobytes())
    frames = [Image.fromarray(np.full((8, 8), shade, np.uint8)) for shade in (0, 128, 255)]
    frames[0].save(files["video"], save_all=True, append_images=frames[1:], duration=50)
    files["object"].write_text(CUBE)
    files["molecule"].write_text(WATER)
    return files
