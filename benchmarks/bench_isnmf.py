"""Time OnlineISNMF against oobss and scikit-learn's MiniBatchNMF, in one run.

Run ``python benchmarks/bench_isnmf.py`` (a minute) or with ``--quick``. All contestants
get the same spectrogram, 10 components, 50 frames between renewals of the basis, and
the same number of multiplicative updates per frame. They run in turn (A B C A B C ...),
so that noise of the machine reaches all alike; the figures are medians over the rounds,
in microseconds per frame. With one thread they are CPU time, which other work on the
machine disturbs less.

OnlineISNMF and oobss separate the frames, MiniBatchNMF only factorizes: `partial_fit`
with batches of 50 frames whose activations start anew in every batch. It starts from
powers that are computed beforehand.
"""

# License: BSD-3-Clause

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.decomposition import MiniBatchNMF
from threadpoolctl import threadpool_limits

from skbss.datasets import make_convolutive_mixture
from skbss.separators import OnlineISNMF
from skbss.transforms import STFT

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_batch import machine_limits, seconds

N_COMPONENTS, BETA, FORGET, SAMPLE_RATE = 10, 50, 0.99, 16_000


def main():
    args = parse_arguments()
    with threadpool_limits(args.threads):
        machine_limits(args.threads)
        for n_fft, hop_length in [(2048, 512), (512, 128)]:
            X = make_spectrogram(n_fft, hop_length)
            for inner_iter in args.inner_iter:
                compare(X, inner_iter, hop_length, args)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--inner-iter", type=int, nargs="+", default=[5, 10, 30])
    args = parser.parse_args()
    args.rounds = 3 if args.quick else 9
    return args


def make_spectrogram(n_fft, hop_length):
    """10 s at 16 kHz of one channel."""
    x, _ = make_convolutive_mixture(10 * SAMPLE_RATE, 2, random_state=0)
    return np.asarray(STFT(n_fft=n_fft, hop_length=hop_length).fit_transform(x[:, :1]))


def run_skbss(X, inner_iter, n_frames):
    separator = OnlineISNMF(
        N_COMPONENTS,
        forget=FORGET,
        batch_size=BETA,
        inner_iter=inner_iter,
        random_state=0,
    )
    for start in range(0, len(X), n_frames):
        separator.partial_fit_transform(X[start : start + n_frames])


def run_oobss(X, inner_iter):
    from oobss import OnlineISNMF

    separator = OnlineISNMF(
        n_components=N_COMPONENTS,
        n_features=len(X),
        n_sources=2,
        beta=BETA,
        forget=FORGET,
        inner_iter=inner_iter,
        random_state=0,
    )
    separator.process_stream(X)


def run_sklearn(powers, inner_iter):
    model = MiniBatchNMF(
        N_COMPONENTS,
        init="random",
        beta_loss="itakura-saito",
        forget_factor=FORGET**BETA,
        fresh_restarts=True,
        fresh_restarts_max_iter=inner_iter,
        tol=0,
        random_state=0,
    )
    for start in range(0, len(powers) - BETA + 1, BETA):
        model.partial_fit(powers[start : start + BETA])


def compare(X, inner_iter, hop_length, args):
    """Time all contestants in turn and print a table."""
    by_bin = np.ascontiguousarray(X[:, :, 0].T)
    powers = abs(X[:, :, 0]) ** 2 + 1e-10 * np.mean(abs(X) ** 2)
    single = X.astype(np.complex64)
    contestants = {
        "skbss complex128": (run_skbss, X, inner_iter, len(X)),
        "skbss complex64": (run_skbss, single, inner_iter, len(X)),
        "skbss frame by frame": (run_skbss, X, inner_iter, 1),
        "oobss": (run_oobss, by_bin, inner_iter),
        "MiniBatchNMF": (run_sklearn, powers, inner_iter),
    }
    samples = {name: [] for name in contestants}
    for _ in range(1 + args.rounds):  # the first is to warm up
        for name, call in contestants.items():
            samples[name].append(1e6 * seconds(args.threads, *call) / len(X))
    medians = {name: np.median(values[1:]) for name, values in samples.items()}
    print(f"{X.shape[0]} frames of {X.shape[1]} bins, inner_iter {inner_iter}")
    print(" " * 25 + "us/frame   oobss / this   real-time factor")
    for name, value in medians.items():
        ratio, factor = medians["oobss"] / value, value * SAMPLE_RATE / hop_length
        print(f"    {name:20}{value:9.0f}{ratio:15.2f}{1e-6 * factor:19.4f}")
    print(flush=True)


if __name__ == "__main__":
    main()
