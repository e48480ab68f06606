"""Separate fewer talkers than microphones: every microphone, or only as many.

Run ``python benchmarks/bench_overdetermined.py SCENES`` with a folder of scenes as
benchmarks/overdetermined_scenes.py makes them. It prints the mean and worst SI-SDR
improvement in dB for each kind of scene, how far the default with ``n_sources`` is
above the same default on as many spread microphones as there are talkers, and processor
seconds of one thread over the duration for each number of microphones. Beside them:

- "before": what the default was before stages were sorted and cancelled, on the same
  spread microphones;
- pyroomacoustics' OverIVA from principal components, which is its best start here;
- the best that a demixing matrix per frequency can do, by least squares on the true
  sources, with all microphones and with the spread ones.
"""

# License: BSD-3-Clause

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import ILRMA, ISTFT, STFT, AuxIVA, ProjectionBack, make_separator
from skbss.datasets import SceneFolder
from skbss.metrics import si_sdr, si_sdr_improvement

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import peers

N_FFT = 8192  # of the best demixing matrices


def spread(scene):
    """Return as many microphones as sources, spread, microphone 0 first."""
    n_mics, n_sources = scene.mixture.shape[1], scene.references.shape[1]
    if scene.metadata["array"] == "circular":
        mics = np.arange(n_sources) * n_mics / n_sources
    else:
        mics = np.linspace(0, n_mics - 1, n_sources)
    return scene.mixture[:, np.round(mics).astype(int)]


def all_microphones(scene):
    """Separate by the default that knows the number of sources."""
    separator = make_separator(
        n_sources=scene.references.shape[1],
        sample_rate=scene.sample_rate,
        random_state=0,
    )
    return separator.fit_transform(scene.mixture)


def spread_microphones(scene):
    """Separate by the default, as many microphones as sources."""
    separator = make_separator(sample_rate=scene.sample_rate, random_state=0)
    return separator.fit_transform(spread(scene))


def before(scene):
    """Separate by two passes, without sorting and cancelling."""
    separator = make_pipeline(
        STFT(4096),
        ILRMA(update="me", random_state=0),
        AuxIVA("cliques", max_iter=20),
        ProjectionBack(0),
        ISTFT(),
        STFT(8192),
        AuxIVA("cliques", max_iter=20),
        ProjectionBack("sum"),
        ISTFT(),
    )
    return separator.fit_transform(spread(scene))


def pyroomacoustics_overiva(scene, n_fft=4096, n_iter=50):
    """Separate by OverIVA.

    White noise 40 dB below the microphones is added: without it its matrices turn
    singular on clean scenes, or it separates worse.
    """
    x, n_sources = scene.mixture, scene.references.shape[1]
    noise = np.random.default_rng(0).normal(size=x.shape)
    record = STFT(n_fft).fit_transform(x + 0.01 * x.std(axis=0) * noise)
    try:
        Y = peers.pyroomacoustics_overiva(np.asarray(record), n_iter, n_sources)
    except np.linalg.LinAlgError:
        return x[:, :n_sources]
    return signals(record, Y)


def best_demixing(scene, x):
    """Return the sources that one matrix per frequency brings nearest to the true."""
    record = STFT(N_FFT).fit_transform(x)
    X, S = np.asarray(record), np.asarray(STFT(N_FFT).fit_transform(scene.references))
    W = peers.least_squares_demixing(S, X)
    return signals(record, np.einsum("fkm,tfm->tfk", W, X))


def signals(record, Y):
    """Return the signals of a spectrogram with the parameters of another."""
    return ISTFT().fit_transform(
        type(record)(np.ascontiguousarray(Y), record.stft_params, record.n_samples)
    )


CONTESTANTS = {
    "all microphones": all_microphones,
    "as many as talkers": spread_microphones,
    "before, as many": before,
    "pyroomacoustics OverIVA": pyroomacoustics_overiva,
    "least squares, all": lambda scene: best_demixing(scene, scene.mixture),
    "least squares, as many": lambda scene: best_demixing(scene, spread(scene)),
}


def kind(scene):
    """Return the kind of scene, as the last part of its name tells."""
    return "sms_wsj" if "sms_wsj" in scene.name else scene.name.rsplit("_", 1)[1]


def measure(scenes, contestants):
    """Return SI-SDR improvements, SI-SDR and seconds by contestant and scene."""
    gains, levels, seconds = (defaultdict(dict) for _ in range(3))
    for name in contestants:  # libraries are loaded, before time counts
        CONTESTANTS[name](scenes[0])
    for scene in scenes:
        for name in contestants:
            start = time.process_time()
            y = CONTESTANTS[name](scene)
            seconds[name][scene.name] = time.process_time() - start
            gain = si_sdr_improvement(scene.references, y, scene.mixture)
            gains[name][scene.name] = gain.mean()
            levels[name][scene.name] = si_sdr(scene.references, y).mean()
        row = "  ".join(f"{name} {gains[name][scene.name]:.1f}" for name in contestants)
        print(f"{scene.name}: {row}", flush=True)
    return gains, levels, seconds


def summary(values):
    """Return mean and worst in words."""
    return f"{np.mean(values):5.1f} [{min(values):5.1f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", help="folder of scenes")
    parser.add_argument("--include", default="*", help="pattern of scene names")
    parser.add_argument(
        "--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS)
    )
    args = parser.parse_args()
    scenes = SceneFolder(args.scenes, include=args.include, return_metadata=True)
    gains, levels, seconds = measure(scenes, args.only)
    kinds = defaultdict(list)
    n_mics = defaultdict(list)
    for scene in scenes:
        kinds[kind(scene)].append(scene.name)
        n_mics[scene.mixture.shape[1]].append(scene.name)
    duration = {s.name: len(s.mixture) / s.sample_rate for s in scenes}

    print("\nSI-SDR improvement in dB, mean [worst], and SI-SDR")
    for label, names in kinds.items():
        print(f"{label}, {len(names)} scenes")
        for name in args.only:
            gain = summary([gains[name][s] for s in names])
            level = summary([levels[name][s] for s in names])
            print(f"  {name:24} {gain}   {level}")
        for name in ("as many as talkers", "before, as many"):
            if {name, "all microphones"} <= set(args.only):
                above = [gains["all microphones"][s] - gains[name][s] for s in names]
                print(f"  above {name:18} {summary(above)}")
    print("\nProcessor seconds over duration, mean and most")
    for count, names in sorted(n_mics.items()):
        print(f"{count} microphones")
        for name in args.only:
            factors = [seconds[name][s] / duration[s] for s in names]
            print(f"  {name:24} {np.mean(factors):5.2f} {max(factors):5.2f}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
