"""Choose the defaults of the separation pipeline by a grid search over room scenes.

Run ``python benchmarks/search_defaults.py scenes/n2_* scenes/n3_* --csv search.csv``.
Scenes are folders as ``benchmarks/scenes.py`` makes them (which needs pyroomacoustics).
All combinations of all settings would take days: each line of the table changes one
thing against the first line, so that it says what that thing costs and brings. Seconds
are the mean over the scenes of separating and scoring one, on one thread; the
real-time factor divides them by the duration.
"""

# License: BSD-3-Clause

import argparse
import csv
from pathlib import Path

import numpy as np
from scenes import load_scene
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from skbss import AuxIVA, EachRecording, ProjectionBack, make_separator
from skbss.compose import window_length
from skbss.metrics import si_sdr_improvement_scorer


def one_pass(n_fft):
    """Leave out the second pass of the pipeline."""
    between = dict.fromkeys(
        ("projectionback", "istft", "stft2", "refine2"), "passthrough"
    )
    return {"stft__n_fft": n_fft, "projectionback2": ProjectionBack(), **between}


def groups(sample_rate):
    """Return the settings to try, by the name of what they change.

    Returns
    -------
    groups : dict of str to list of dict
        Parameters of the pipeline, against its defaults.
    """
    n = {ms: window_length(sample_rate, ms / 1000) for ms in (128, 256, 512, 1024)}
    ilrma_only = {"refine": "passthrough"}
    iva_only = {"ilrma": AuxIVA(max_iter=50), **ilrma_only}
    return {
        "window": [
            {"stft__n_fft": n[first], "stft2__n_fft": n[second]}
            for first, second in ((128, 256), (128, 512), (512, 512), (256, 1024))
        ],
        "hop": [
            {"stft__hop_length": n[256] // k, "stft2__hop_length": n[512] // k}
            for k in (2, 8)
        ],
        "shape": [
            {"stft__window": name, "stft2__window": name}
            for name in ("hamming", "blackman")
        ],
        "passes": [one_pass(n[ms]) for ms in (256, 512)],
        "models": [
            {**one_pass(n_fft), **models}
            for n_fft in (n[256], n[512])
            for models in (ilrma_only, iva_only)
        ],
        "start": [
            {"ilrma": AuxIVA(max_iter=100)},
            {"ilrma__init": "identity"},
            *({"ilrma__init_iter": k} for k in (25, 100)),
        ],
        "basis": [{"ilrma__n_basis": k} for k in (1, 3, 4, 10)],
        "update": [{"ilrma__update": "mm"}],
        "iterations": [
            *({"ilrma__max_iter": k} for k in (15, 30, 100)),
            *({"refine__max_iter": k, "refine2__max_iter": k} for k in (5, 10, 40)),
            {"refine": "passthrough"},
        ],
        "spatial": [
            {f"{step}__spatial": name for step in ("ilrma", "refine", "refine2")}
            for name in ("ip2", "iss1", "iss2")
        ],
        "seed": [{"ilrma__random_state": k} for k in (1, 2)],
    }


def load(folders):
    """Read scenes of one rate: mixtures, references, sample rate, durations."""
    scenes = [load_scene(folder) for folder in folders]
    rates = {scene.sample_rate for scene in scenes}
    if len(rates) > 1:
        raise SystemExit(f"Got scenes at {sorted(rates)} Hz, expected a single rate.")
    mixtures = [scene.mixture for scene in scenes]
    references = [scene.references for scene in scenes]
    rate = rates.pop()
    return mixtures, references, rate, [len(x) / rate for x in mixtures]


def label(params):
    """Write parameters as one short line."""
    names = {k: v for k, v in params.items() if v != "passthrough"}
    left_out = [k for k, v in params.items() if isinstance(v, str) and k not in names]
    parts = [f"{k.replace('__', '.')}={v}" for k, v in names.items()]
    return " ".join([*parts, *(f"-{step}" for step in left_out)]) or "default"


def search(settings, mixtures, references, sample_rate, n_jobs):
    """Separate all scenes with all settings.

    Returns
    -------
    scores : ndarray of shape (n_settings, n_scenes)
        SI-SDR improvements in dB.
    seconds : ndarray of shape (n_settings,)
        Mean time per scene.
    """
    n_scenes = len(mixtures)
    # Nothing is learned from other recordings; a split for each gives it a score.
    splits = [(np.arange(n_scenes), [k]) for k in range(n_scenes)]
    grid = [{f"estimator__{k}": [v] for k, v in params.items()} for params in settings]
    found = GridSearchCV(
        EachRecording(make_separator(sample_rate=sample_rate, random_state=0)),
        grid,
        scoring=si_sdr_improvement_scorer,
        cv=splits,
        refit=False,
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(mixtures, references)
    results = found.cv_results_
    scores = [results[f"split{k}_test_score"] for k in range(n_scenes)]
    return np.transpose(scores), results["mean_score_time"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="default: all")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    args = parser.parse_args()
    mixtures, references, sample_rate, durations = load(args.scenes)
    table = groups(sample_rate)
    if unknown := set(args.only or ()) - set(table):
        parser.error(f"Got --only {sorted(unknown)}, expected some of {list(table)}.")
    names = [folder.name for folder in args.scenes]
    rows = [["mean dB", "seconds", "real-time factor", *names, "setting"]]
    print(*rows[0], sep="  ")
    # Searched one after the other, so that figures appear early.
    for settings in [[{}], *(table[name] for name in args.only or table)]:
        with threadpool_limits(1):
            scores, seconds = search(
                settings, mixtures, references, sample_rate, args.n_jobs
            )
        for params, values, time in zip(settings, scores, seconds, strict=True):
            numbers = (values.mean(), time, time / np.mean(durations), *values)
            rows.append([*(f"{number:.2f}" for number in numbers), label(params)])
            print(*rows[-1], sep="  ", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
