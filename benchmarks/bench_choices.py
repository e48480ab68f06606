"""Measure what the table of the page "Choosing a separator" tells, in one run.

Run ``python benchmarks/bench_choices.py DRY_SPEECH_FOLDER`` (ten minutes), where the
folder is one that scenes.py takes. Each choice separates recordings of 40 s in living
rooms (RT60 0.2 and 0.4 s), six in all: voices from the folder, or a plucked string
and drums that are made here. Printed are the mean and the worst
improvement of SI-SDR in dB, processor seconds of one core per second of sound, and the
peak of memory above the recording itself in MB, scaled to a minute, which is that of
the choice's own process. Needs the extra ``rooms`` and Linux.
"""

# License: BSD-3-Clause

import argparse
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.signal import lfilter
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    BlockBatch,
    OnlineAuxIVA,
    OnlineISNMF,
    OnlineSeparator,
    ProjectionBack,
    make_separator,
)
from skbss.compose import online_pipeline
from skbss.datasets import make_room_mixture
from skbss.metrics import si_sdr_improvement

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_memory import resident
from scenes import read_speakers

RATE, SECONDS, SETTLED = 16_000, 40, 15
RT60 = 0.2, 0.2, 0.2, 0.4, 0.4, 0.4


def pluck(frequency, n_samples, rng):
    """Return a plucked string, by Karplus and Strong's recursion: delayed noise."""
    period = round(RATE / frequency)
    x = np.zeros(n_samples)
    x[:period] = rng.uniform(-1, 1, min(period, n_samples))
    a = np.zeros(period + 2)
    a[[0, period, period + 1]] = 1, -0.499, -0.499
    return lfilter([1], a, x)


def music(n_samples, rng):
    """Return a melody and drums, each a signal of its own."""
    tune, drums = np.zeros((2, n_samples))
    decay = np.exp(-np.arange(RATE // 4) / (0.04 * RATE))
    for start in range(0, n_samples - RATE, RATE // 4):
        note = pluck(110 * 2 ** (rng.choice([0, 3, 5, 7, 10, 12]) / 12), RATE, rng)
        tune[start : start + RATE] += note
        if rng.random() < 0.7:
            beat = rng.standard_normal(len(decay)) * decay
            skin = np.sin(2 * np.pi * 180 * np.arange(len(decay)) / RATE) * decay
            drums[start : start + len(decay)] += beat + rng.choice([0, 2]) * skin
    return np.stack([tune, drums], axis=1)


def simulate(sources, **room):
    """Return the microphones and the sources of a room."""
    made = make_room_mixture(sources, sample_rate=RATE, **room)
    return made.mixture.astype(np.float32), made.references


def recordings(speech, *, n_sources=2, n_mics=None, n_used=None, kind="speech"):
    """Yield the microphones in use and the sources of each room."""
    half = SECONDS * RATE // 2
    for seed, rt60 in enumerate(RT60):
        rng = np.random.default_rng(seed)
        if kind == "music":
            sources = music(SECONDS * RATE, rng)
        else:
            sources = speech[rng.choice(len(speech), n_sources, replace=False)].T
        room = {"n_mics": n_mics, "rt60": rt60}
        x, y = simulate(sources, random_state=seed, **room)
        if kind == "jump":  # both talkers are elsewhere after the half
            there = simulate(sources, random_state=seed + 100, **room)
            x[half:], y[half:] = (signals[half:] for signals in there)
        yield x[:, :n_used], y


def supervised(sources):
    """Twenty seconds of each source alone have been heard."""
    stft, bases = STFT(1024), []
    for k in range(2):
        model = OnlineISNMF(10, n_sources=1, forget=1.0, random_state=0)
        heard = stft.fit_transform(sources[: 20 * RATE, [k]])
        for _ in range(3):
            model.partial_fit(heard)
        bases.append(model.basis_)
    separator = OnlineISNMF(20, basis_init=np.hstack(bases), update_basis=False)
    return make_pipeline(stft, separator, ISTFT())


def whole(**params):
    return lambda sources: make_separator(**params, random_state=0)


# What separates, what is separated, and from which second on it is scored.
CHOICES = {
    "make_separator()": (whole(), {}, 0),
    "n_sources=2, 4 microphones": (whole(n_sources=2), {"n_mics": 4}, 0),
    "n_sources=3, 2 microphones": (
        whole(n_sources=3),
        {"n_sources": 3, "n_mics": 2},
        0,
    ),
    "auxiva": (whole(method="auxiva"), {}, 0),
    "people jump, refine=None": (
        lambda _: BlockBatch(block=10.0, overlap=2.5, refine=None),
        {"kind": "jump"},
        0,
    ),
    "OnlineSeparator": (lambda _: OnlineSeparator(RATE), {}, SETTLED),
    "OnlineAuxIVA": (lambda _: online_pipeline(OnlineAuxIVA(), RATE), {}, SETTLED),
    "OnlineISNMF, 1 microphone": (supervised, {"n_used": 1}, 20),
    "music, make_separator()": (whole(), {"kind": "music"}, 0),
    "music, ILRMA, 10 spectra": (
        lambda _: make_pipeline(
            STFT(8192),
            ILRMA(10, max_iter=100, random_state=0),
            ProjectionBack(),
            ISTFT(),
        ),
        {"kind": "music"},
        0,
    ),
}


def measure(name, speech):
    """Separate and score; return what is printed."""
    make, options, start = CHOICES[name]
    scores, seconds, peak = [], [], 0
    with threadpool_limits(1):
        for x, y in recordings(speech, **options):
            separator = make(y)
            separator.fit_transform(x[: 3 * RATE])  # loads what is loaded once
            separator = make(y)
            Path("/proc/self/clear_refs").write_text("5")
            before, begin = resident("VmRSS"), time.process_time()
            estimate = separator.fit_transform(x)
            seconds.append((time.process_time() - begin) / SECONDS)
            peak = max(peak, resident("VmHWM") - before)
            late = slice(start * RATE, None)
            gain = si_sdr_improvement(y[late], estimate[late], x[late])
            scores.append(gain.mean())
    megabytes = peak / 1e6 * 60 / SECONDS
    return np.mean(scores), np.min(scores), np.mean(seconds), megabytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dry_folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    args = parser.parse_args()
    speakers = read_speakers(args.dry_folder, SECONDS)
    speech = np.array([signal for signal, _, _ in speakers.values()])
    print(f"{'':28}{'dB':>6}{'worst':>7}{'time':>7}{'MB':>6}")
    for name in args.only:
        with get_context("spawn").Pool(1) as pool:
            mean, worst, seconds, megabytes = pool.apply(measure, (name, speech))
        print(
            f"{name:28}{mean:6.1f}{worst:7.1f}{seconds:7.3f}{megabytes:6.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
