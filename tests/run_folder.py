"""Run folders of real separations, as the benchmark leaves them."""

# License: BSD-3-Clause

import json
from itertools import count

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbss import ISTFT, STFT
from skbss.benchmark import make_experiment, register_method, run_experiment
from skbss.datasets import register_dataset

STEPS = ["STFT", "ILRMA", "ProjectionBack", "ISTFT"]
_numbers = count()


def fail(X):
    """Raise the error of a separator that doesn't like this recording."""
    raise ValueError("Got something bad.")


register_method(
    "broken", lambda: make_pipeline(STFT(), FunctionTransformer(fail), ISTFT())
)


def make_run(folder, scenes):
    """Run five candidates, of which the last one fails, on scenes.

    Parameters
    ----------
    folder : Path
        To be made.
    scenes : list of tuple (name, mixture, references or None, sample_rate)
        The recordings.
    """
    names = ("name", "mixture", "references", "sample_rate")
    scenes = [dict(zip(names, scene, strict=True)) for scene in scenes]
    for scene in scenes:
        if scene["references"] is None:
            del scene["references"]
    dataset = f"scenes_{next(_numbers)}"
    register_dataset(dataset, lambda: scenes)
    pipeline = {name: [s.replace("ILRMA", name) for s in STEPS] for name in METHODS}
    methods = {
        label: {"pipeline": pipeline[name], "params": params, "grid": grid}
        for name, (label, params, grid) in METHODS.items()
    }
    experiment = make_experiment(
        {
            "name": "voices",
            "dataset": dataset,
            "stft": {"n_fft": 512},
            "methods": methods | {"broken": None},
            "runtime": {"framewise": {"window": 1.0, "hop": 0.5}},
        }
    )
    run_experiment(experiment, folder)


METHODS = {
    "AuxIVA": ("auxiva", {"auxiva.max_iter": 20}, {}),
    "ILRMA": ("ilrma", {"ilrma.max_iter": 20}, {"ilrma.n_basis": [2, 4]}),
    "OnlineAuxIVA": ("online_auxiva", {}, {}),
}


def write_rows(folder, rows, tail=""):
    """Write results.jsonl, `tail` being what a dying process left."""
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    (folder / "results.jsonl").write_text(lines + tail, "utf-8")
