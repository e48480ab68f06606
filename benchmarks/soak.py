"""Separate an hour of disturbed audio; watch output, memory, time and recovery.

Run ``python benchmarks/soak.py SCENE_FOLDER ...`` (some minutes) on scenes of the same
number of microphones, as scenes.py makes them. Every minute the sources jump to the
places of the next scene, and half a minute later something else happens, in turn:
silence, a pause with faint noise, clicks, a microphone that dies and returns, and the
level falls by 60 dB, with the next jump at that level, and rises again. All of it goes
through one Stream in blocks of a hop.

Recovery is measured beside a stream that hears the same scene undisturbed for the
second time. Separation is back as soon as the SI-SDR improvement of the next four
seconds is within 3 dB of that stream's.
"""

# License: BSD-3-Clause

import argparse
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scenes import load_scene
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import make_pipeline

import skbss
from skbss import ISTFT, STFT, ProjectionBack, Stream
from skbss.metrics import si_sdr, si_sdr_improvement

MINUTE = 60  # seconds
HALF = 30
WINDOW = 4
STEP = 0.5
WITHIN = 3.0  # dB
KINDS = ["silence", "noise", "clicks", "dead microphone", "-60 dB", "+60 dB"]
# Seconds from the middle of the minute until the disturbance is over.
DURATION = {"silence": 5, "noise": 5, "clicks": 1, "dead microphone": 5}


def disturb(mixture, kind, rate, rng):
    """Return one disturbed minute."""
    x = mixture.copy()
    start = HALF * rate
    part = x[start : start + DURATION.get(kind, 0) * rate]
    if kind == "silence":
        part[:] = 0
    elif kind == "noise":
        part[:] = 1e-3 * mixture.std() * rng.standard_normal(part.shape)
    elif kind == "clicks":
        where = rng.integers(len(part), size=20)
        part[where] += 30 * abs(mixture).max() * rng.choice([-1, 1], (20, 1))
    elif kind == "dead microphone":
        part[:, -1] = 0
    elif kind == "-60 dB":
        x[start:] *= 1e-3
    elif kind == "+60 dB":
        x[:start] *= 1e-3
    return x


def read_minute(folder):
    """Repeat a scene until it has filled a minute."""
    scene = load_scene(folder)
    # Up to where its sources jump: jumps are made here.
    seconds = scene.metadata.get("move_at_s", MINUTE)
    length = min(len(scene.mixture), round(seconds * scene.sample_rate))
    rows = np.arange(MINUTE * scene.sample_rate) % length
    return scene.mixture[rows], scene.references[rows], scene.sample_rate


def improvements(references, estimate, mixture, rate, part):
    """Mean improvement of every window of a part, in the order of the part's end."""
    part = slice(*(round(edge * rate) for edge in part))
    s, y, x = references[part], estimate[part], mixture[part]
    settled = slice(len(s) // 3, None)
    _, order = si_sdr(s[settled], y[settled], return_permutation=True)
    size, step = WINDOW * rate, round(STEP * rate)
    values = [
        np.mean(
            si_sdr_improvement(
                s[k : k + size], y[k : k + size, order], x[k : k + size], permute=False
            )
        )
        for k in range(0, len(s) - size + 1, step)
    ]
    return np.array(values), tuple(order)


class Listener:
    """A stream in a process of its own, where nothing else moves the memory."""

    stream = None

    def __init__(self, pipeline):
        self.pool = ProcessPoolExecutor(1, get_context("spawn"))
        self.lag = self.pool.submit(self._start, pipeline).result()

    @classmethod
    def _start(cls, pipeline):
        cls.stream = Stream(pipeline)
        if cls.stream.pipeline is None:
            return cls.stream.latency
        return cls.stream.latency + 1 - cls.stream.hop_length

    @classmethod
    def _process(cls, x):
        """Separate a few blocks; note the CPU time of each, and the memory in MB."""
        hop, parts, seconds = cls.stream.hop_length, [], []
        for start in range(0, len(x), hop):
            before = time.thread_time()
            parts.append(cls.stream.process(x[start : start + hop]))
            seconds.append(time.thread_time() - before)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return parts, seconds, pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def hear(self, x, n_samples=16 * 512):
        """Send a minute through the stream.

        Returns
        -------
        y : ndarray of shape (n_samples - lag, n_sources)
            The minute separated, but for its end, which comes with the next one.
        seconds : ndarray of shape (n_blocks,)
            CPU time of each block.
        memory : float
            Resident memory at the end, in MB.
        """
        y, seconds = [], []
        for start in range(0, len(x), n_samples):
            block = x[start : start + n_samples]
            parts, spent, memory = self.pool.submit(self._process, block).result()
            y += [part for part in parts if len(part)]
            seconds += spent
        # From the second minute on, the first samples belong to the one before.
        return np.concatenate(y)[self.lag - len(x) :], np.array(seconds), memory

    def close(self):
        """End the process."""
        self.pool.shutdown()


def recovery(own, calm):
    """Seconds until windows are as good as those of a calm stream, or infinity."""
    back = np.flatnonzero(own >= calm - WITHIN)
    return back[0] * STEP if len(back) else np.inf


def soak(pipeline, minutes, n_minutes, random_state=0):
    """Run, and print a line a minute.

    Returns
    -------
    times : dict of str to list of float
        Seconds to recovery by what had happened.
    """
    rng = np.random.default_rng(random_state)
    calm = []
    for mixture, _, _ in minutes:
        other = Listener(pipeline)
        other.hear(mixture)
        calm.append(other.hear(mixture)[0])
        other.close()
    listener = Listener(pipeline)
    times = {kind: [] for kind in ["jump", *KINDS]}
    sizes, medians, slowest, finite, kept = [], [], [], True, []
    kinds = cycle(KINDS)
    for n, k in enumerate(islice(cycle(range(len(minutes))), n_minutes)):
        mixture, references, rate = minutes[k]
        kind = next(kinds)
        y, seconds, memory = listener.hear(disturb(mixture, kind, rate, rng))
        sizes.append(memory)
        medians.append(1e3 * np.median(seconds))
        slowest.append(1e3 * seconds.max())
        finite &= bool(np.isfinite(y).all())
        length, order, row = len(y) / rate, [], []
        middle = HALF + DURATION.get(kind, 0)
        for name, part in (("jump", (0, HALF)), (kind, (middle, length))):
            own, now = improvements(references, y, mixture, rate, part)
            best, _ = improvements(references, calm[k], mixture, rate, part)
            times[name].append(recovery(own, best))
            order.append(now)
            row.append(f"{name} {times[name][-1]:4.1f} s {own[-9:].mean():5.1f} dB")
            row.append(f"({best[-9:].mean():5.1f})")
        kept.append(order[0] == order[1])
        print(
            f"{n + 1:3}: {sizes[-1]:6.1f} MB, {medians[-1]:.2f} ms a block, slowest "
            f"{slowest[-1]:5.2f};",
            *row,
            "" if kept[-1] else "swapped",
            flush=True,
        )
    listener.close()
    print(f"finite: {finite}; outputs swapped in {n_minutes - sum(kept)} minutes")
    print(f"memory after the first minute: {min(sizes[1:]):.1f}", end=" ")
    print(f"to {max(sizes[1:]):.1f} MB")
    tenth = max(1, n_minutes // 10)
    print(
        f"CPU per block: median {np.mean(medians[1 : 1 + tenth]):.2f} ms in the first "
        f"tenth, {np.mean(medians[-tenth:]):.2f} in the last; slowest "
        f"{max(slowest):.1f} ms of {60e3 / len(seconds):.0f}"
    )
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="scenes")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--separator", default="OnlineSeparator", help="class")
    args = parser.parse_args()
    # Where a source pauses for a whole window its score isn't defined.
    warnings.simplefilter("ignore", UndefinedMetricWarning)
    separator = getattr(skbss, args.separator)()
    if args.separator != "OnlineSeparator":
        steps = STFT(2048, hop_length=512), separator, ProjectionBack(), ISTFT()
        separator = make_pipeline(*steps)
    minutes = [read_minute(folder) for folder in args.folders]
    for k, folder in enumerate(args.folders):
        print(f"scene {k}: {Path(folder).name}")
    times = soak(separator, minutes, args.minutes)
    print("seconds until separation is back: median, worst, how many over 10 s")
    for kind, values in times.items():
        if values:
            late = sum(value > 10 for value in values)
            print(
                f"{kind:16} {np.median(values):5.1f} {max(values):5.1f} "
                f"{late:3} of {len(values)}"
            )


if __name__ == "__main__":
    main()
