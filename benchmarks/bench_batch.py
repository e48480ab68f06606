"""Time the batch separators against oobss, pyroomacoustics and ssspy.

Run ``python benchmarks/bench_batch.py`` (some minutes) or with ``--quick``. All
contestants separate the same spectrogram from the same start, in one process, in turn
(A B C A B C ...), so that noise of the machine reaches all alike. Milliseconds per
iteration are the median over the rounds of the difference between a long and a short
call, which leaves out what is done once; the whole call is given as well. With one
thread they are CPU time, which other work on the machine disturbs less.
tests/test_peers.py shows that all compute the same demixing matrices.
"""

# License: BSD-3-Clause

import argparse
import platform
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from skbss.datasets import make_convolutive_mixture
from skbss.separators import ILRMA, AuxIVA
from skbss.transforms import STFT

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import peers
from tests.reference import make_factors

N_BASIS = 4
TORCHIVA = """\
torchiva is not run. On the CPU of another machine its AuxIVA took, in ms per iteration,

    microphones                2      3      4
    torchiva complex128       18     58     87
    torchiva complex64      14.5     24     43
    oobss there               65     93    161

that is 3.6, 1.6 and 1.9 times less than oobss in complex128, and 4.5, 3.9 and 3.7 times
less in complex64. Divide by these the ratios of oobss to skbss float64 and float32."""


def main():
    args = parse_arguments()
    with threadpool_limits(args.threads):
        limits = machine_limits(args.threads)
        medians = {}
        for n_mics in args.mics:
            X = make_spectrogram(n_mics)
            for title, contestants, operations in cases(X):
                row = f"{title}, {n_mics} microphones"
                medians[row] = compare(title, contestants, X, operations, limits, args)
    print(TORCHIVA)
    print_table(medians)


def print_table(medians):
    """Print what all packages have as the README's table."""
    names = ["skbss float64", "skbss float32", "pyroomacoustics", "oobss", "ssspy"]
    rows = [["ms/iteration", *names], ["---"] * 6]
    for title, ms in medians.items():
        if ms.keys() >= set(names):
            rows.append([title, *(f"{ms[name]:.3g}" for name in names)])
    print("\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few, short rounds")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--mics", type=int, nargs="+", default=[2, 3, 4])
    args = parser.parse_args()
    args.rounds, args.round_seconds = (3, 0.2) if args.quick else (9, 0.6)
    return args


def make_spectrogram(n_mics):
    """10 s at 16 kHz, n_fft 2048, hop 512, of unit power."""
    x, _ = make_convolutive_mixture(160_000, n_mics, random_state=0)
    X = np.asarray(STFT(n_fft=2048, hop_length=512).fit_transform(x))
    return X / np.sqrt(np.mean(abs(X) ** 2))


def cases(X):
    """Yield a title, {name: function of the number of iterations}, and operations.

    The operations are the least that one iteration on real features needs, without the
    small matrices, of which there is one per bin and not per frame. Matrix products
    take 4 M² for the power and the covariances of each output value, and 14 L for a
    factorization with L bases, which also takes 3 reciprocals.
    """
    n_mics = X.shape[2]
    single = X.astype(np.complex64)
    products = 4 * n_mics**2 * X.size
    for spatial in ["ip1", "ip2", "iss1", "iss2"]:
        contestants = {
            "skbss float64": partial(run_auxiva, X, spatial),
            "skbss float32": partial(run_auxiva, single, spatial),
            "ssspy": partial(peers.ssspy_auxiva, X, spatial=spatial),
        }
        if spatial == "ip1":
            contestants["oobss"] = partial(peers.oobss_auxiva, X)
            contestants["pyroomacoustics"] = partial(peers.pyroomacoustics_auxiva, X)
        yield f"AuxIVA Gauss {spatial}", contestants, (products, 0)

    # Each with the update that it has: the square root of mm costs next to nothing.
    basis, activations = make_factors(0, X, N_BASIS)
    start = {"basis": basis, "activations": activations}
    contestants = {
        "skbss float64": partial(run_ilrma, X),
        "skbss float32": partial(run_ilrma, single),
        "ssspy": partial(peers.ssspy_ilrma, X, **start),
        "oobss": partial(peers.oobss_ilrma, X, **start),
        "pyroomacoustics": partial(peers.pyroomacoustics_ilrma, X, **start),
    }
    operations = products + 14 * N_BASIS * X.size, 3 * X.size
    yield f"ILRMA ip1, {N_BASIS} bases", contestants, operations


def run_auxiva(X, spatial, n_iter):
    AuxIVA("gauss", spatial=spatial, sort_iter=0, max_iter=n_iter).fit(X)


def run_ilrma(X, n_iter):
    ILRMA(N_BASIS, init="identity", max_iter=n_iter, random_state=0).fit(X)


def seconds(n_threads, function, *args, **kwargs):
    clock = time.process_time if n_threads == 1 else time.perf_counter
    start = clock()
    function(*args, **kwargs)
    return clock() - start


def time_iterations(contestants, args):
    """Time all contestants in turn; return {name: milliseconds per iteration}."""
    steps, samples = {}, {name: [] for name in contestants}
    for name, run in contestants.items():
        try:
            run(n_iter=1)
        except ImportError as error:
            sys.exit(f"{error}. Install the contestants: pip install 'skbss[peers]'")
        # All take about as long, so that the noise is alike too.
        per_call = seconds(args.threads, run, n_iter=3) / 3
        steps[name] = int(np.clip(args.round_seconds / per_call, 10, 100))
    for _ in range(args.rounds):
        for name, run in contestants.items():
            short = seconds(args.threads, run, n_iter=2)
            long = seconds(args.threads, run, n_iter=2 + steps[name])
            samples[name].append(1e3 * (long - short) / steps[name])
    return {name: np.array(values) for name, values in samples.items()}


def compare(title, contestants, X, operations, limits, args):
    """Time all contestants, print a table and return {name: median milliseconds}."""
    samples = time_iterations(contestants, args)
    own = np.median(samples["skbss float64"])
    print(f"{title}, {X.shape[2]} microphones, X {X.shape}")
    print(" " * 20 + " ms/iteration   (least .. most)    ratio", end="")
    print("" if args.quick else "  50 iterations")
    for name, values in samples.items():
        ms = np.median(values)
        spread = f"({values.min():.2f} .. {values.max():.2f})"
        print(f"    {name:16}{ms:13.2f}   {spread:18}{ms / own:6.2f}", end="")
        if not args.quick:
            whole = seconds(args.threads, contestants[name], n_iter=50)
            print(f"{whole:13.2f} s", end="")
        print()
    n_bytes = 8 * X.size * X.shape[2]  # M² features per bin and frame
    memory = 1e3 * n_bytes / limits["memory"]
    products, reciprocals = operations
    arithmetic = products / limits["float64"] + reciprocals / limits["reciprocal"]
    slower = max(memory, 1e3 * arithmetic)
    print(f"    Limits in float64: {memory:.2f} ms for one pass over the features,")
    print(
        f"    {n_bytes / 1e6:.1f} MB; {1e3 * arithmetic:.2f} ms for arithmetic; ",
        end="",
    )
    print(f"skbss takes {own / slower:.1f} times the larger.\n", flush=True)
    return {name: np.median(values) for name, values in samples.items()}


def machine_limits(n_threads):
    """Measure and print what the machine can do: bytes and operations per second."""
    print(f"{platform.platform()}, {cpu_name()}, Python {platform.python_version()}")
    print(f"numpy {np.__version__}, limited to {n_threads} thread(s):")
    for library in threadpool_info():
        name, version = library["internal_api"], library["version"]
        print(f"    {name} {version or ''}, {library['num_threads']} thread(s)")
    a, b = np.ones((2, 16_000_000))
    least = min(seconds(n_threads, np.dot, a, b) for _ in range(9))
    limits = {"memory": 2 * a.nbytes / least}
    print(f"    reads {limits['memory'] / 1e9:.1f} GB/s (dot product of 256 MB)")
    c, out = np.ones((2, 100_000))
    least = min(seconds(n_threads, np.divide, 1, c, out=out) for _ in range(99))
    limits["reciprocal"] = len(c) / least
    print(f"    float64 1 / x in cache {limits['reciprocal'] / 1e9:.1f} Gop/s")
    for dtype in ["float64", "float32"]:
        A = np.ones((1500, 1500), dtype)
        least = min(seconds(n_threads, np.matmul, A, A) for _ in range(5))
        limits[dtype] = 2 * len(A) ** 3 / least
        print(f"    {dtype} matrix product {limits[dtype] / 1e9:.0f} Gflop/s")
    print()
    return limits


def cpu_name():
    """Model of the processor, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
