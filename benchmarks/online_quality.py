"""Measure how well the online separators separate, beside oobss at many settings.

Run ``python benchmarks/online_quality.py SCENE_FOLDER ...`` on folders as scenes.py
makes them. Printed is the mean SI-SDR improvement in dB, at microphone 0, in each
quarter of the recordings, and the time to +3 dB: the end of the first two seconds whose
improvement, in the mean of the sources, is at least that.

Outputs are assigned to sources once per recording. Where sources jump no method can
know which output is to follow whom: scenes whose metadata have ``move_at_s`` are
assigned once before and once after.

Where oobss returns NaN the mixture is put in its place, which counts as no improvement
and flatters it; the number of scenes in which that happened is printed.
"""

# License: BSD-3-Clause

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scenes import load_scene
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, OnlineAuxIVA, OnlineILRMA, ProjectionBack
from skbss.metrics import si_sdr, si_sdr_improvement

SEPARATED = 3.0  # dB
WINDOW = 2.0  # seconds
# The first is what the benchmark of oobss sets.
OOBSS_GRID = [
    {"forget": [0.99], "inner_iter": [5]},
    {"forget": [0.96, 0.98, 0.99, 0.995], "inner_iter": [1, 2]},
    {"forget": [0.96, 0.98, 0.995], "inner_iter": [5]},
]


def assign(scene, estimate):
    """Put the outputs into the order of the sources, anew after they have moved."""
    references, estimate = scene.references, estimate.copy()
    move = round(scene.metadata.get("move_at_s", 0) * scene.sample_rate)
    for part in (slice(0, move), slice(move, None)):
        if len(references[part]):
            _, order = si_sdr(references[part], estimate[part], return_permutation=True)
            estimate[part] = estimate[part][:, order]
    return estimate


def improvement(references, estimate, mixture, part):
    """Mean improvement in dB in a part of the recording."""
    return np.mean(
        si_sdr_improvement(
            references[part], estimate[part], mixture[part], permute=False
        )
    )


def score(scene, estimate):
    """Score the separated sources of a scene.

    Returns
    -------
    quarters : list of float
        Mean improvement in dB in each.
    seconds : float
        The time to +3 dB, infinite where it is never reached.
    """
    mixture, rate = scene.mixture, scene.sample_rate
    signals = scene.references, assign(scene, estimate), mixture
    edges = np.linspace(0, len(mixture), 5).astype(int)
    quarters = [improvement(*signals, slice(a, b)) for a, b in pairwise(edges)]
    size = round(WINDOW * rate)
    for start in range(0, len(mixture) - size + 1, rate // 4):
        if improvement(*signals, slice(start, start + size)) >= SEPARATED:
            return quarters, (start + size) / rate
    return quarters, np.inf


def separate(separator, scene, n_fft=2048, hop_length=512):
    """Separate a scene as it comes in."""
    stft = STFT(n_fft, hop_length=hop_length)
    pipe = make_pipeline(stft, separator, ProjectionBack(), ISTFT())
    return pipe.fit_transform(scene.mixture)


def separate_with_oobss(method, scene, n_fft=2048, hop_length=512, **params):
    """Separate a scene, and count the NaN that were replaced by the mixture."""
    import oobss

    stft = STFT(n_fft, hop_length=hop_length)
    record = stft.fit_transform(scene.mixture)
    X = np.asarray(record)
    params |= {"n_mic": X.shape[2], "n_freq": X.shape[1]}
    if method == "OnlineILRMA":
        params |= {"n_bases": 2, "random_state": 0}
    separator = getattr(oobss, method)(**params)
    with np.errstate(all="ignore"):
        # Its frames have the scale of microphone 0.
        Y = np.array([separator.process_frame(x) for x in X])
    bad = ~np.isfinite(Y)
    Y = np.where(bad, X[:, :, :1], Y)
    return ISTFT().fit_transform(replace(record, data=Y)), np.count_nonzero(bad)


def report(name, scores, n_bad=0, each=None):
    """Print the mean over the scenes, and every scene's if asked for."""
    quarters = np.array([quarters for quarters, _ in scores])
    seconds = [seconds for _, seconds in scores]
    if each:
        for folder, row, time in zip(each, quarters, seconds, strict=True):
            values = " ".join(f"{v:6.1f}" for v in row)
            print(f"    {Path(folder).name:28} {values} {time:12.2f} s")
    values = " ".join(f"{v:6.2f}" for v in [*quarters.mean(0), quarters.mean()])
    note = f"  NaN in {n_bad} scenes" if n_bad else ""
    print(f"{name:32} {values} {np.median(seconds):7.2f} s{note}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="scenes")
    parser.add_argument("--each", action="store_true", help="show every scene")
    parser.add_argument(
        "--oobss",
        nargs="*",
        default=["OnlineAuxIVA", "OnlineILRMA"],
        help="classes of oobss to run",
    )
    args = parser.parse_args()
    scenes = [load_scene(folder) for folder in args.folders]
    print("quarter 1 to 4, mean, and the median time to +3 dB")
    for separator in (OnlineAuxIVA(), OnlineILRMA(random_state=0)):
        name = f"skbss {type(separator).__name__}"
        scores = [score(scene, separate(separator, scene)) for scene in scenes]
        report(name, scores, each=args.folders)
    for method in args.oobss:
        for params in ParameterGrid(OOBSS_GRID):
            scores, n_bad = [], 0
            for scene in scenes:
                estimate, bad = separate_with_oobss(method, scene, **params)
                scores.append(score(scene, estimate))
                n_bad += bad > 0
            name = f"oobss {method[6:]} {params['forget']} / {params['inner_iter']}"
            report(name, scores, n_bad, args.folders if args.each else None)


if __name__ == "__main__":
    main()
