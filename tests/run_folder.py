"""Run folders of real separations, as the benchmark leaves them."""

# License: BSD-3-Clause

import json
import time
import warnings
from datetime import UTC, datetime

import numpy as np
import soundfile as sf
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, AuxIVA, OnlineAuxIVA, ProjectionBack
from skbss.metrics import si_sdr, si_sdr_improvement


def make_candidates(n_fft=1024):
    """Return name, method and estimator of some candidates; the last one fails."""
    separators = {
        "auxiva": ("auxiva", AuxIVA(max_iter=20)),
        "ilrma,n_basis=2": ("ilrma", ILRMA(n_basis=2, max_iter=20, random_state=0)),
        "ilrma,n_basis=4": ("ilrma", ILRMA(n_basis=4, max_iter=20, random_state=0)),
        "online_auxiva": ("online_auxiva", OnlineAuxIVA()),
        "online_auxiva,forget=2": ("online_auxiva", OnlineAuxIVA(forget=2.0)),
    }
    return {
        name: (method, make_pipeline(STFT(n_fft), step, ProjectionBack(), ISTFT()))
        for name, (method, step) in separators.items()
    }


def framewise(reference, estimate, mixture, rate):
    """Return times, scores and improvements over windows of a second."""
    window, hop = rate, rate // 2
    starts = np.arange(0, max(len(reference) - window, 1), hop)
    cut = [slice(start, start + window) for start in starts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # silent windows are nan
        score = [si_sdr(reference[c], estimate[c], permute=False) for c in cut]
        better = [
            si_sdr_improvement(reference[c], estimate[c], mixture[c], permute=False)
            for c in cut
        ]
    return (starts + window / 2) / rate, np.array(score), np.array(better)


def write_signals(folder, name, signals, rate):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, signal in enumerate(signals.T):
        paths.append(folder / f"{name}_{k:02d}.wav")
        sf.write(paths[-1], signal, rate, "PCM_16")
    return paths


def separate(folder, scene, candidate, method, estimator):
    """Separate, write audio and framewise arrays, and return the row."""
    name, mixture, references, rate = scene
    row = {
        "recording": name,
        "candidate": candidate,
        "method": method,
        "params": {},
        "seed": 0,
    }
    start = time.perf_counter()
    try:
        estimate = estimator.fit_transform(mixture)
    except ValueError as error:
        error = {"type": type(error).__name__, "message": str(error)}
        return row | {"status": "failed", "error": error, "seconds": {}}
    seconds = time.perf_counter() - start
    duration = len(mixture) / rate
    audio = folder / "audio" / name / candidate
    row |= {
        "status": "ok",
        "sample_rate": rate,
        "duration": duration,
        "n_mics": mixture.shape[1],
        "n_sources": estimate.shape[1],
        "scores": {},
        "seconds": {"read": 0.01, "separation": seconds, "total": seconds + 0.02},
        "real_time_factor": seconds / duration,
        "finished": datetime.now(UTC).isoformat(),
    }
    if references is not None:
        score, order = si_sdr(references, estimate, return_permutation=True)
        better = si_sdr_improvement(references, estimate, mixture)
        row["scores"] = {
            "si_sdr": score.tolist(),
            "si_sdr_improvement": better.tolist(),
        }
        row["permutation"] = order.tolist()
        estimate = estimate[:, order]
        path = folder / "framewise" / name / f"{candidate}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = framewise(references, estimate, mixture, rate)
        names = ("time", "si_sdr", "si_sdr_improvement")
        np.savez(path, **dict(zip(names, arrays, strict=True)))
        row["framewise"] = str(path.relative_to(folder))
    paths = write_signals(audio, "source", estimate, rate)
    row["audio"] = [str(path.relative_to(folder)) for path in paths]
    return row


def make_run(folder, scenes, candidates):
    """Write a run folder.

    Parameters
    ----------
    folder : Path
        To be made.
    scenes : list of tuple (name, mixture, references or None, sample_rate)
        The recordings.
    candidates : dict
        Name to (method, estimator).
    """
    folder.mkdir(parents=True)
    rows = []
    for scene in scenes:
        name, mixture, references, rate = scene
        audio = folder / "audio" / name
        audio.mkdir(parents=True)
        sf.write(audio / "mixture.wav", mixture, rate, "PCM_16")
        if references is not None:
            write_signals(audio, "reference", references, rate)
        for candidate, (method, estimator) in candidates.items():
            rows.append(separate(folder, scene, candidate, method, estimator))
    write_rows(folder, rows)
    config = f"name: voices\nmethods: [{', '.join(m for m, _ in candidates.values())}]"
    (folder / "experiment.yaml").write_text(config + "\n", "utf-8")
    names = "".join(f"{name}\n" for name in candidates)
    (folder / "summary.csv").write_text("candidate\n" + names, "utf-8")
    environment = {
        "python": "3.11",
        "skbss": "0.1.0",
        "threads": 1,
        "started": datetime.now(UTC).isoformat(),
    }
    (folder / "environment.json").write_text(json.dumps(environment), "utf-8")


def write_rows(folder, rows, tail=""):
    """Write results.jsonl, `tail` being what a dying process left."""
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    (folder / "results.jsonl").write_text(lines + tail, "utf-8")
