"""How much memory a separation needs, and how much there is."""

# License: BSD-3-Clause

from pathlib import Path

import numpy as np

# Spectrograms, with hops of a quarter of a window, have so many numbers for a sample of
# a channel; and so many of their sizes are in memory at a time, and more of them for
# every microphone, by measurement.
NUMBERS = 4
SPECTROGRAMS, MORE = 1.2, 0.65
# Less is never checked, in bytes.
SMALL = 2**30
GIGA = 1e9


def needed_bytes(n_samples: int, n_mics: int, dtype: np.dtype) -> float:
    """Return about how much memory the separation of a recording takes.

    Parameters
    ----------
    n_samples, n_mics : int
        Its size.
    dtype : dtype
        Of its samples.
    """
    spectrogram = NUMBERS * n_samples * n_mics * np.dtype(dtype).itemsize
    return spectrogram * (SPECTROGRAMS + MORE * n_mics)


def available_bytes() -> float:
    """Return how much memory can be had, infinity where the system doesn't tell.

    On Linux, where a process that takes more is killed without a word: what the machine
    has, and what a container may have.
    """
    available = float("inf")
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            available = 1024 * float(line.split()[1])
    group = "/sys/fs/cgroup/memory"
    limit, used = _read(f"{group}.max").strip(), _read(f"{group}.current").strip()
    if limit.isdigit() and used.isdigit():
        cached = [
            int(line.split()[1])
            for line in _read(f"{group}.stat").splitlines()
            if line.startswith("inactive_file ")
        ]
        available = min(available, int(limit) - int(used) + sum(cached))
    return available


def _read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def check_memory(x: np.ndarray, sample_rate: float) -> None:
    """Raise MemoryError if a recording takes more memory than there is.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_mics)
        The recording.
    sample_rate : float
        In Hz.
    """
    n_samples, n_mics = x.shape
    needed = needed_bytes(n_samples, n_mics, x.dtype)
    if needed < SMALL or needed < (available := available_bytes()):
        return
    less = "" if x.dtype == np.float32 else " Samples in float32 take half of it."
    raise MemoryError(
        f"Got {n_samples / sample_rate:.0f} s of {n_mics} microphones, which take "
        f"about {needed / GIGA:.1f} GB at once, but {max(available, 0) / GIGA:.1f} GB "
        "are there: separate them block by block, by BlockBatch(pipeline) or skbss "
        f"separate.{less}"
    )
