"""Choose the defaults of the online separators on scenes: improvement per quarter.

Run ``python benchmarks/search_online.py SCENE_FOLDER ...`` on folders as scenes.py
makes them. Printed is the mean SI-SDR improvement in dB in each quarter of the
recordings, at microphone 0, for every setting of a small grid around the defaults.

Outputs are assigned to sources once per recording. Where sources jump no method can
know which output is to follow whom: scenes whose metadata have ``move_at_s`` are
assigned once before and once after.
"""

# License: BSD-3-Clause

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from scenes import load_scene
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, OnlineAuxIVA, OnlineILRMA, ProjectionBack
from skbss.metrics import si_sdr, si_sdr_improvement

TAU = [3.0, 5.3, 8.0]  # seconds
GRIDS = {
    "auxiva": (
        OnlineAuxIVA(),
        [
            {"tau": TAU},
            {"inner_iter": [2, 5]},
            {"lookback": [1, 16, 32, 128]},
            {"source": ["laplace"], "spatial": ["ip1"]},
            {"spatial": ["iss1"]},
        ],
    ),
    "ilrma": (
        OnlineILRMA(random_state=0),
        [
            {"tau": [5.3]},
            {"blend": [0.0, 0.5, 1.0]},
            {"basis_forget": [0.9995]},
            {"n_basis": [1, 4]},
        ],
    ),
}


def quarters(separator, scene, n_fft, hop_length):
    """Mean improvement in each quarter of a scene."""
    mixture, references = scene.mixture, scene.references
    steps = STFT(n_fft, hop_length=hop_length), separator, ProjectionBack(), ISTFT()
    estimate = make_pipeline(*steps).fit_transform(mixture)
    move = round(scene.metadata.get("move_at_s", 0) * scene.sample_rate)
    for part in (slice(0, move), slice(move, None)):
        if len(references[part]):
            _, order = si_sdr(references[part], estimate[part], return_permutation=True)
            estimate[part] = estimate[part][:, order]
    edges = np.linspace(0, len(mixture), 5).astype(int)
    return [
        np.mean(
            si_sdr_improvement(
                references[a:b], estimate[a:b], mixture[a:b], permute=False
            )
        )
        for a, b in pairwise(edges)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="scenes")
    parser.add_argument("--method", choices=list(GRIDS), default="auxiva")
    parser.add_argument("--n-fft", type=int, default=2048)
    parser.add_argument("--hop-length", type=int, default=512)
    parser.add_argument("--each", action="store_true", help="show every scene")
    args = parser.parse_args()
    scenes = {folder: load_scene(folder) for folder in args.folders}
    separator, grid = GRIDS[args.method]
    for params in ParameterGrid(grid):
        settings = dict(params)
        tau = settings.pop("tau", 5.3)
        rate = next(iter(scenes.values())).sample_rate
        settings["forget"] = 1 - args.hop_length / (rate * tau)
        estimator = clone(separator).set_params(**settings)
        rows = {
            folder: quarters(estimator, scene, args.n_fft, args.hop_length)
            for folder, scene in scenes.items()
        }
        if args.each:
            for folder, row in rows.items():
                print(f"    {Path(folder).name:24}", *(f"{v:6.1f}" for v in row))
        row = np.mean(list(rows.values()), axis=0)
        values = " ".join(f"{v:6.2f}" for v in [*row, row.mean()])
        print(f"{params!s:44} quarters and mean: {values}", flush=True)


if __name__ == "__main__":
    main()
