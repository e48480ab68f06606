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

from skbss import ILRMA, EachRecording, make_separator
from skbss.compose import window_length
from skbss.metrics import si_sdr_improvement_scorer

OFF = "passthrough"


def groups(sample_rate):
    """Return the settings to try, by the name of what they change.

    Returns
    -------
    groups : dict of str to list of dict
        Parameters of the pipeline, against its defaults.
    """
    seconds = (64, 128, 256, 512, 1024)
    n = {ms: window_length(sample_rate, ms / 1000) for ms in seconds}
    ilrma = {"first__auxiva": ILRMA(max_iter=30, update="me", random_state=0)}
    passes = "first", "second__stage"
    return {
        "window": [
            {"first__stft__n_fft": n[first], "second__stage__stft__n_fft": n[second]}
            for first, second in ((128, 256), (128, 512), (512, 512), (256, 1024))
        ],
        "hop": [
            {
                "first__stft__hop_length": n[256] // k,
                "second__stage__stft__hop_length": n[512] // k,
            }
            for k in (2, 8)
        ],
        "shape": [
            {f"{stage}__stft__window": name for stage in passes}
            for name in ("hamming", "blackman")
        ],
        "stages": [
            *({name: OFF} for name in ("first__sort", "second")),
            {"first__stft__n_fft": n[512], "second": OFF},
            {"second__n_windows": 10**6},
        ],
        "models": [
            {"first__refine": OFF},
            {"first__auxiva": OFF},
            ilrma,
            {**ilrma, "first__refine": OFF},
        ],
        "iterations": [
            *({"first__auxiva__max_iter": k} for k in (20, 30, 100)),
            *({f"{stage}__refine__max_iter": k for stage in passes} for k in (10, 40)),
        ],
        "sort": [{"first__sort__min_gain": gain} for gain in (0.1, 1.0)],
        "cancel": [
            {"second__stage__cancel": OFF},
            {"cancel__short": OFF},
            {"cancel": OFF, "second__stage__cancel": OFF},
            {
                f"{name}__stft__{key}": n[64] // parts
                for name in ("second__stage__cancel", "cancel__short")
                for key, parts in (("n_fft", 1), ("hop_length", 2))
            },
            {"cancel__long__stft__n_fft": n[512]},
        ],
        "spatial": [
            {
                f"{step}__spatial": name
                for step in ("first__auxiva", "first__refine", "second__stage__refine")
            }
            for name in ("ip2", "iss1", "iss2")
        ],
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
    parts = [f"-{name}" if v == OFF else f"{name}={v}" for name, v in params.items()]
    return " ".join(parts).replace("__", ".") or "default"


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
