"""Measure how well the online separators separate, beside batch, and oobss' ones.

Run ``python benchmarks/online_quality.py SCENE_FOLDER ...`` on folders as scenes.py
makes them. Printed is the mean SI-SDR improvement in dB, at microphone 0, in each
quarter of the recordings, and the time to +3 dB: the end of the first two seconds whose
improvement, in the mean of the sources, is at least that. Then the improvement from
15 s on, up to where sources jump; and for each of the six seconds after that.

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

from skbss import (
    ISTFT,
    STFT,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineSeparator,
    ProjectionBack,
    make_separator,
)
from skbss.metrics import si_sdr, si_sdr_improvement

SEPARATED = 3.0  # dB
WINDOW = 2.0  # seconds
SETTLED = 15.0  # seconds
N_AFTER = 6  # seconds after jumps
LATENCIES = 0.008, 0.032, 0.128, 1.0
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
    later : ndarray of shape (1 + N_AFTER,)
        Mean improvement from 15 s on, and in each second after a jump; NaN where there
        are none.
    """
    mixture, rate = scene.mixture, scene.sample_rate
    signals = scene.references, assign(scene, estimate), mixture
    edges = np.linspace(0, len(mixture), 5).astype(int)
    quarters = [improvement(*signals, slice(a, b)) for a, b in pairwise(edges)]
    move = round(scene.metadata.get("move_at_s", 0) * rate)
    later = np.full(1 + N_AFTER, np.nan)
    end = move or len(mixture)
    if end > (SETTLED + 1) * rate:
        later[0] = improvement(*signals, slice(round(SETTLED * rate), end))
    for second in range(N_AFTER if move else 0):
        start = move + second * rate
        later[1 + second] = improvement(*signals, slice(start, start + rate))
    size = round(WINDOW * rate)
    for start in range(0, len(mixture) - size + 1, rate // 4):
        if improvement(*signals, slice(start, start + size)) >= SEPARATED:
            return quarters, (start + size) / rate, later
    return quarters, np.inf, later


def separate(separator, scene, n_fft=2048, hop_length=512):
    """Separate a scene as it comes in."""
    stft = STFT(n_fft, hop_length=hop_length)
    pipe = make_pipeline(stft, separator, ProjectionBack(), ISTFT())
    return pipe.fit_transform(scene.mixture)


def separate_afterwards(scene):
    """Separate each part of a scene in which nothing moves, all of it at hand."""
    move = round(scene.metadata.get("move_at_s", 0) * scene.sample_rate)
    parts = [scene.mixture[:move], scene.mixture[move:]]
    pipeline = make_separator(sample_rate=scene.sample_rate, random_state=0)
    return np.concatenate([pipeline.fit_transform(x) for x in parts if len(x)])


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
    quarters = np.array([quarters for quarters, _, _ in scores])
    seconds = [seconds for _, seconds, _ in scores]
    later = np.array([later for _, _, later in scores])
    if each:
        for folder, row, time in zip(each, quarters, seconds, strict=True):
            values = " ".join(f"{v:6.1f}" for v in row)
            print(f"    {Path(folder).name:28} {values} {time:12.2f} s")
    values = " ".join(f"{v:6.2f}" for v in [*quarters.mean(0), quarters.mean()])
    note = f"  NaN in {n_bad} scenes" if n_bad else ""
    known = np.isfinite(later)
    means = np.where(known, later, 0).sum(0) / np.maximum(known.sum(0), 1)
    after = " ".join(f"{v:5.1f}" for v, n in zip(means, known.sum(0), strict=True) if n)
    print(f"{name:32} {values} {np.median(seconds):7.2f} s {after}{note}", flush=True)


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
    print("quarter 1 to 4, mean, the median time to +3 dB, after 15 s, after jumps")
    scores = [score(scene, separate_afterwards(scene)) for scene in scenes]
    report("skbss afterwards", scores, each=args.folders if args.each else None)
    for latency in LATENCIES:
        scores = []
        for scene in scenes:
            separator = OnlineSeparator(scene.sample_rate, latency=latency)
            x = scene.mixture.astype(np.float32)
            scores.append(score(scene, separator.fit_transform(x)))
        name = f"skbss OnlineSeparator {1000 * latency:.0f} ms"
        report(name, scores, each=args.folders if args.each else None)
    for separator in (OnlineAuxIVA(), OnlineILRMA(random_state=0)):
        name = f"skbss {type(separator).__name__}"
        scores = [score(scene, separate(separator, scene)) for scene in scenes]
        report(name, scores, each=args.folders if args.each else None)
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
