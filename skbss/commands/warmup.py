"""``skbss warmup``: load and compile ahead what would take time on first use."""

# License: BSD-3-Clause

import time
from importlib.util import find_spec

import numpy as np

from skbss import Stream, make_separator
from skbss.commands.console import say
from skbss.compiled import kernels
from skbss.live import OnlineSeparator
from skbss.transforms import STFT, WPE, OnlineWPE

SAMPLE_RATE = 16_000
SECONDS = 2


def run(args):
    """Separate noise in all ways that load or compile something, and say what was kept.

    Parameters
    ----------
    args : argparse.Namespace
        As ``skbss.cli`` parses them; there are none.
    """
    start = time.perf_counter()
    x = np.random.default_rng(0).standard_normal((SECONDS * SAMPLE_RATE, 2))
    make_separator(sample_rate=SAMPLE_RATE).fit_transform(x)
    Stream(OnlineSeparator(SAMPLE_RATE)).process(x)
    for dtype in (np.float32, np.float64):
        spectrogram = STFT(1024).fit_transform(x.astype(dtype))
        for step in (WPE(max_iter=1), OnlineWPE()):
            step.fit_transform(spectrogram)
    seconds = time.perf_counter() - start
    say(f"All is loaded and works, after {seconds:.1f} s. {_kept()}")


def _kept():
    """Return a sentence on where compiled code is."""
    compiled = kernels("dereverberation")
    if find_spec("numba") is None:
        return "Nothing is compiled: the extra fast isn't installed, nor needed."
    if compiled is None:
        return (
            "Nothing is compiled: numba is switched off, or finds no folder to keep "
            "code in, which NUMBA_CACHE_DIR tells it."
        )
    loops = [loop for loop in vars(compiled).values() if hasattr(loop, "stats")]
    folders = sorted({loop.stats.cache_path for loop in loops} - {None})
    return f"What was compiled is kept in {', '.join(folders)}."
