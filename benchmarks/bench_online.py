"""Time the online separators against oobss, frame by frame.

Run ``python benchmarks/bench_online.py`` (two minutes). One thread; all models get the
same frame in turn, so that noise of the machine reaches all alike. Given is the median
CPU time per frame, the output included, once the memory is full, its ratio to oobss at
the same number of inner iterations, and the real-time factor.
"""

# License: BSD-3-Clause

import argparse
import time

import numpy as np
import oobss
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from skbss import STFT, OnlineAuxIVA, OnlineILRMA, Spectrogram
from skbss.datasets import make_convolutive_mixture

SAMPLE_RATE = 16000
N_BASIS = 2


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
        out = separator.partial_fit_transform(record)
        return out.data[0] * out.mixing[0, :, 0]

    return process


def compare(n_mics, n_fft, hop_length, inner_iter, n_frames):
    """Print one table."""
    seconds = (n_frames + 100) * hop_length / SAMPLE_RATE + 1
    x, _ = make_convolutive_mixture(int(seconds * SAMPLE_RATE), n_mics, random_state=0)
    X = np.asarray(STFT(n_fft, hop_length=hop_length).fit_transform(x))
    rows = list(contestants(n_mics, X.shape[1], inner_iter))
    times = [[] for _ in rows]
    for t, frame in enumerate(X[5 : 105 + n_frames]):
        for (_, name, process, dtype), spent in zip(rows, times, strict=True):
            # oobss keeps no memory that has to fill up.
            if name == "oobss" and t < 95:
                continue
            frame = frame.astype(dtype)
            start = time.process_time()
            process(frame)
            spent.append(time.process_time() - start)
    medians = [np.median(spent[-n_frames:]) for spent in times]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mics", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--n-frames", type=int, default=50)
    args = parser.parse_args()
    with threadpool_limits(1):
        threads = {pool["num_threads"] for pool in threadpool_info()}
        print(f"threads {threads}, CPU time, lookback at its default")
        for n_mics in args.mics:
            for inner_iter in (1, 5):
                compare(n_mics, 2048, 512, inner_iter, args.n_frames)
        compare(2, 512, 128, 1, args.n_frames)


if __name__ == "__main__":
    main()
