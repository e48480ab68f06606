"""Time the online separators against oobss, and the slowest block of a stream.

Run ``python benchmarks/bench_online.py`` (three minutes). One thread. All models get
the same frames in turns of 16, one frame at a time, so that noise of the machine
reaches all alike. Given is the CPU time per frame, the output at a microphone included,
once the memory is full (the median over the turns, of their means), how many times as
long oobss takes with as many inner iterations, and the real-time factor.

Then OnlineISNMF, in blocks and frame by frame, as in bench_isnmf.py, beside oobss and
scikit-learn's MiniBatchNMF. Then 10,000 blocks of a hop go through a Stream: the
slowest must take less than the hop lasts. At last OnlineSeparator, with each number of
microphones in a process of its own: the real-time factor of 200 s as they come, and of
the first 40 s of them; the slowest block of 32 ms of 40 s that come when they are due;
and what memory all of it took. ``--only live`` does that alone (five minutes).
"""

# License: BSD-3-Clause

import argparse
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import oobss
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from skbss import (
    ISTFT,
    STFT,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineSeparator,
    ProjectionBack,
    Spectrogram,
    Stream,
)
from skbss.datasets import make_convolutive_mixture

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bench_isnmf

SAMPLE_RATE = 16000
N_BASIS = 2
TURN = 16  # frames; the weights of past frames are renewed every fourth
WARM_UP = 6 * TURN
FRAMES_AND_HOPS = [(2048, 512), (512, 128)]


def contestants(n_mics, n_freqs, inner_iter):
    """Yield a family, a name, a function of one frame (n_freqs, n_mics) and a dtype."""
    ours = {
        "AuxIVA": OnlineAuxIVA(inner_iter=inner_iter),
        "ILRMA": OnlineILRMA(N_BASIS, inner_iter=inner_iter, random_state=0),
    }
    for family, separator in ours.items():
        for dtype in (np.complex128, np.complex64):
            yield family, f"skbss {np.dtype(dtype)}", step(separator), dtype
    params = {"n_mic": n_mics, "n_freq": n_freqs}
    params |= {"forget": 0.99, "inner_iter": inner_iter}
    auxiva = oobss.OnlineAuxIVA(**params)
    ilrma = oobss.OnlineILRMA(n_bases=N_BASIS, random_state=0, **params)
    yield "AuxIVA", "oobss", auxiva.process_frame, np.complex128
    yield "ILRMA", "oobss", ilrma.process_frame, np.complex128


def step(separator):
    separator = clone(separator)

    def process(frame):
        record = Spectrogram(frame[None], {}, 0)
        return separator.partial_fit_transform(record).data[0]

    return process


def compare(n_mics, n_fft, hop_length, inner_iter, n_turns):
    """Print one table."""
    n_samples = (WARM_UP + n_turns * TURN) * hop_length + 2 * n_fft
    x, _ = make_convolutive_mixture(n_samples, n_mics, random_state=0)
    X = np.asarray(STFT(n_fft, hop_length=hop_length).fit_transform(x))[4:]
    rows = list(contestants(n_mics, X.shape[1], inner_iter))
    times = [[] for _ in rows]
    for turn in range(WARM_UP // TURN + n_turns):
        frames = X[turn * TURN : (turn + 1) * TURN]
        for (_, _, process, dtype), spent in zip(rows, times, strict=True):
            typed = frames.astype(dtype)
            start = time.process_time()
            with np.errstate(all="ignore"):  # oobss divides by zero
                for frame in typed:
                    process(frame)
            spent.append((time.process_time() - start) / TURN)
    medians = [np.median(spent[-n_turns:]) for spent in times]
    reference = {
        row[0]: median
        for row, median in zip(rows, medians, strict=True)
        if row[1] == "oobss"
    }
    for (family, name, _, _), median in zip(rows, medians, strict=True):
        print(
            f"{n_mics} mics, {n_fft}/{hop_length}, inner_iter {inner_iter}: "
            f"{family:7} {name:16} {1e3 * median:6.2f} ms  "
            f"x{reference[family] / median:4.1f}  "
            f"real-time factor {median * SAMPLE_RATE / hop_length:.3f}",
            flush=True,
        )


def slowest_block(separator, n_mics, n_fft, hop_length, n_blocks):
    """Print how long blocks of a hop take in a stream."""
    x, _ = make_convolutive_mixture(20 * SAMPLE_RATE, n_mics, random_state=0)
    stream = Stream(
        make_pipeline(
            STFT(n_fft, hop_length=hop_length), separator, ProjectionBack(), ISTFT()
        )
    )
    blocks = x[: len(x) // hop_length * hop_length].reshape(-1, hop_length, n_mics)
    stream.process(blocks[0][:0])
    spent = np.empty((n_blocks, 2))
    for k in range(n_blocks):
        block = blocks[k % len(blocks)]
        start = time.perf_counter(), time.thread_time()
        stream.process(block)
        spent[k] = time.perf_counter() - start[0], time.thread_time() - start[1]
    hop = hop_length / SAMPLE_RATE
    slowest, slowest_cpu = 1e3 * spent.max(0)
    print(
        f"{n_blocks} blocks of {1e3 * hop:.0f} ms, {type(separator).__name__}, "
        f"{n_mics} mics, {n_fft}/{hop_length}: real-time factor "
        f"{spent[:, 1].mean() / hop:.3f}, slowest {slowest:.1f} ms "
        f"({slowest_cpu:.1f} ms of CPU time)",
        flush=True,
    )


def live(n_mics, seconds=200, paced=40, size=512):
    """Print what OnlineSeparator takes, in a process of its own."""
    x, _ = make_convolutive_mixture(20 * SAMPLE_RATE, n_mics, random_state=0)
    x = x.astype(np.float32)
    blocks = x.reshape(-1, size, n_mics)
    OnlineSeparator().fit(x[: 3 * SAMPLE_RATE])  # imports, and first calls of all
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    duration, spent = size / SAMPLE_RATE, []
    with threadpool_limits(1):
        separator, start = OnlineSeparator(), time.perf_counter()
        for k in range(round(paced / duration)):
            time.sleep(max(0.0, start + (k + 1) * duration - time.perf_counter()))
            begin = time.perf_counter()
            separator.partial_fit_transform(blocks[k % len(blocks)])
            spent.append(time.perf_counter() - begin)
        separator, start, factors = OnlineSeparator(), time.process_time(), []
        for k in range(round(seconds / duration)):
            separator.partial_fit_transform(blocks[k % len(blocks)])
            factors.append((time.process_time() - start) / ((k + 1) * duration))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"OnlineSeparator, {n_mics} mics: real-time factor {factors[-1]:.2f} of "
        f"{seconds} s, {factors[round(40 / duration) - 1]:.2f} of the first 40; blocks "
        f"of {1e3 * duration:.0f} ms, when due: median {1e3 * np.median(spent):.1f}, "
        f"slowest {1e3 * max(spent):.1f} ms; {memory:.0f} MB",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mics", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--inner-iter", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--n-turns", type=int, default=9)
    parser.add_argument("--n-blocks", type=int, default=10_000)
    parser.add_argument("--only", choices=["live"], help="leave out all else")
    args = parser.parse_args()
    if args.only is None:
        recursive(args)
    for n_mics in args.mics:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(live, n_mics).result()


def recursive(args):
    """Compare the recursive separators, and print what blocks of a hop take."""
    with threadpool_limits(1):
        threads = {pool["num_threads"] for pool in threadpool_info()}
        print(f"threads {threads}, CPU time, lookback at its default")
        for n_fft, hop_length in FRAMES_AND_HOPS:
            for n_mics in args.mics if n_fft > 512 else [2]:
                for inner_iter in args.inner_iter:
                    compare(n_mics, n_fft, hop_length, inner_iter, args.n_turns)
        for n_fft, hop_length in FRAMES_AND_HOPS:
            X = bench_isnmf.make_spectrogram(n_fft, hop_length)
            options = argparse.Namespace(threads=1, rounds=5)
            bench_isnmf.compare(X, 5, hop_length, options)
        for n_fft, hop_length in FRAMES_AND_HOPS:
            for separator in (OnlineAuxIVA(), OnlineILRMA(random_state=0)):
                slowest_block(separator, 2, n_fft, hop_length, args.n_blocks)


if __name__ == "__main__":
    main()
