"""Time the SI-SDR family against fast_bss_eval.

Run ``OMP_NUM_THREADS=1 python benchmarks/bench_metrics.py``. Both compute the same
values from the same input, in one process and in turn; times are the best of several
runs in milliseconds, ratios are fast_bss_eval's time over ours. Each takes signals in
the layout of its own: ours (n_samples, n_sources), its (n_sources, n_samples).

fast_bss_eval's public functions of the SI-SDR family need torch, but those of its
module ``numpy`` don't. They are its functions of BSS Eval with filters of one sample.
They check nothing, which is what they save on signals of a second or so, and sum in the
precision of their input. Ours do so for float32, too, as long as scores are exact to
1e-4 dB, which they are in the table: the estimates have 10 dB of artifacts and 20 dB of
interference. Below it, they have 30 dB of artifacts, for which ours sum float32 again,
in double precision, and the peer doesn't.
"""

# License: BSD-3-Clause

import time

import numpy as np
from fast_bss_eval import numpy as peer

from skbss.metrics import bss_eval, framewise_si_sdr, si_bss_eval, si_sdr

RATE = 16000


def best(*functions, repeat=9):
    """Least time of each function in milliseconds, called in turn."""
    times = np.empty((repeat, len(functions)))
    for row in times:
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            row[i] = time.perf_counter() - start
    return 1e3 * times.min(axis=0)


def make_signals(seconds, n_sources, dtype, artifacts=0.3):
    rng = np.random.default_rng(0)
    reference = rng.laplace(size=(seconds * RATE, n_sources))
    estimate = reference[:, ::-1]
    estimate = estimate + 0.1 * np.roll(estimate, 1, axis=1)
    estimate += artifacts * rng.laplace(size=reference.shape)
    return reference.astype(dtype), estimate.astype(dtype)


def compare(seconds, n_sources, dtype, **kwargs):
    ours = make_signals(seconds, n_sources, dtype, **kwargs)
    theirs = [np.ascontiguousarray(signal.T) for signal in ours]
    if dtype is np.float64:  # the peer sums in the precision of its input
        np.testing.assert_allclose(
            si_bss_eval(*ours).si_sir,
            peer.si_bss_eval_sources(*theirs)[1],
            atol=1e-6,
        )
    pairs = [
        (lambda: si_sdr(*ours), lambda: peer.si_sdr(*theirs)),
        (lambda: si_bss_eval(*ours), lambda: peer.si_bss_eval_sources(*theirs)),
    ]
    if (seconds, dtype) == (10, np.float64):
        pairs.append((lambda: bss_eval(*ours), lambda: peer.bss_eval_sources(*theirs)))
    print(f"{seconds:7d} {n_sources:7d} {np.dtype(dtype).name:>8s}", end="")
    for pair in pairs:
        mine, its = best(*pair)
        print(f"{mine:10.2f}{its:9.2f}{its / mine:6.1f}", end="", flush=True)
    print()


def compare_windows():
    """Time windows of 1 s every 0.5 s against one call of the peer for each."""
    ours = make_signals(60, 2, np.float64)
    theirs = [np.ascontiguousarray(signal.T) for signal in ours]
    starts = range(0, 59 * RATE + 1, RATE // 2)

    def its():
        for start in starts:
            peer.si_sdr(*(s[:, start : start + RATE] for s in theirs))

    mine, its = best(lambda: framewise_si_sdr(*ours, sample_rate=RATE), its, repeat=5)
    print(
        f"\nframewise_si_sdr of 60 s, 2 sources, {len(starts)} windows of 1 s: "
        f"{mine:.0f} ms; si_sdr of fast_bss_eval on each: {its:.0f} ms; "
        f"ratio {its / mine:.1f}"
    )


def main():
    print(
        f"numpy {np.__version__}\n\n"
        "                               SI-SDR, ms      SI-SDR, SIR, SAR, ms"
        "      BSS Eval, 512 taps, ms\n"
        "seconds sources    dtype     skbss     peer ratio     skbss     peer ratio"
        "     skbss     peer ratio"
    )
    for dtype in (np.float64, np.float32):
        for seconds in (1, 10, 60):
            for n_sources in (2, 3, 4):  # of one, the peer cannot assign infinite SIR
                compare(seconds, n_sources, dtype)
    print("\nwith 30 dB of artifacts:")
    compare(10, 2, np.float32, artifacts=0.03)
    compare_windows()


if __name__ == "__main__":
    main()
