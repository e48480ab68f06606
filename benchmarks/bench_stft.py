"""Time STFT and ISTFT against scipy.signal.ShortTimeFFT, and measure peak memory.

Run ``OMP_NUM_THREADS=1 python benchmarks/bench_stft.py``. Both compute the same values
from the same input, in one process and in turn; times are the best of several runs in
milliseconds, ratios are scipy's time over ours.
"""

# License: BSD-3-Clause

import resource
import time

import numpy as np
import scipy
import scipy.fft
from scipy.signal import ShortTimeFFT, get_window

from skbss.transforms import ISTFT, STFT

RATE = 16000


def best(*functions, repeat=7):
    """Least time of each function in milliseconds, called in turn."""
    times = np.empty((repeat, len(functions)))
    for row in times:
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            row[i] = time.perf_counter() - start
    return 1e3 * times.min(axis=0)


def compare(seconds, n_channels, n_fft, dtype):
    x = np.random.default_rng(0).normal(size=(seconds * RATE, n_channels))
    x = x.astype(dtype)
    stft, istft = STFT(n_fft=n_fft), ISTFT()
    X = stft.fit_transform(x)
    window = get_window("hann", n_fft)
    sft = ShortTimeFFT(window, n_fft // 4, fs=RATE, phase_shift=None)
    S = sft.stft(x, axis=0)
    rounding = 100 * np.finfo(dtype).eps * abs(S).max()
    np.testing.assert_allclose(X.data, S.transpose(2, 0, 1), rtol=0, atol=rounding)

    forward = best(lambda: stft.transform(x), lambda: sft.stft(x, axis=0))
    inverse = best(
        lambda: istft.transform(X),
        lambda: sft.istft(S, k1=len(x), f_axis=0, t_axis=-1),
    )
    print(
        f"{seconds:7d} {n_channels:8d} {n_fft:6d} {np.dtype(dtype).name:>8s}"
        f"{forward[0]:9.2f}{forward[1]:9.2f}{forward[1] / forward[0]:7.1f}"
        f"{inverse[0]:11.2f}{inverse[1]:9.2f}{inverse[1] / inverse[0]:7.1f}"
    )


def peak_bytes():
    """Peak resident memory of this process so far (Linux counts in KiB)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory():
    x = np.random.default_rng(0).normal(size=(600 * RATE, 2))
    STFT().fit_transform(x[:RATE])
    before = peak_bytes()
    X = STFT().fit_transform(x)
    after_stft = peak_bytes()
    y = ISTFT().fit_transform(X)
    after_istft = peak_bytes()
    print(
        "Peak resident growth for 10 minutes of 2 channels, n_fft 4096, over the size "
        "of the output:\n"
        f"  STFT  {(after_stft - before) / X.data.nbytes:.2f} "
        f"of {X.data.nbytes / 1e6:.0f} MB\n"
        f"  ISTFT {(after_istft - after_stft) / y.nbytes:.2f} "
        f"of {y.nbytes / 1e6:.0f} MB"
    )


def main():
    memory()  # first, as the peak never falls
    print(
        f"\nnumpy {np.__version__}, scipy {scipy.__version__}, "
        f"{scipy.fft.get_workers()} FFT thread(s)\n\n"
        "                                  STFT, ms              ISTFT, ms\n"
        "seconds channels  n_fft    dtype    skbss    scipy  ratio"
        "      skbss    scipy  ratio"
    )
    for dtype in (np.float64, np.float32):
        for n_fft in (512, 2048, 4096, 8192):
            for n_channels in (1, 2, 4):
                compare(10, n_channels, n_fft, dtype)
        compare(100, 2, 4096, dtype)


if __name__ == "__main__":
    main()
