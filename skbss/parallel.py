"""Threads for the hot loops: blocks of an array, as many at a time as BLAS may use."""

# License: BSD-3-Clause

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock

from sklearn.utils import gen_batches, gen_even_slices
from threadpoolctl import ThreadpoolController

# Work is divided into so many parts whatever the number of threads, so that sums over
# parts don't depend on it. More threads than that would wait for memory.
N_PARTS = 8

# About the bytes of one core's second level of cache.
CACHE_BYTES = 1 << 20

# Arrays of the bins that are worked on at a time. With fewer, threads wait for each
# other's small steps: two were 1.4 to 1.6 times as fast as one, and slower with 1 MB.
BLOCK_BYTES = 8 << 20

# Looking for the libraries takes longer than limiting them.
threadpool_controller = cache(ThreadpoolController)
_in_use = Lock()


@contextmanager
def block_map():
    """Provide a `map` that works on several blocks at a time.

    There are as many threads as BLAS would use, which ``OMP_NUM_THREADS``,
    `threadpoolctl` and joblib's processes limit. BLAS itself gets one thread meanwhile:
    its products are too small here to be divided. Where another thread of the process
    is at it already, the processors have enough to do, and blocks come in turn.

    Yields
    ------
    map_blocks : callable
        Used like `map`; results come in the order of the blocks.
    """
    if not _in_use.acquire(blocking=False):
        yield map
        return
    try:
        libraries = threadpool_controller().info()
        blas = [lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"]
        n_threads = min(max(blas, default=1), N_PARTS)
        if n_threads == 1:
            yield map
            return
        with (
            threadpool_controller().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(n_threads) as pool,
        ):
            yield pool.map
    finally:
        _in_use.release()


def map_some(function, blocks):
    """Call a function with blocks, several at a time if there are enough of them.

    Parameters
    ----------
    function : callable
        Returns nothing of interest.
    blocks : list
        Fewer than four are done before threads have started.
    """
    if len(blocks) < 4:
        for block in blocks:
            function(block)
        return
    with block_map() as map_blocks:
        for _ in map_blocks(function, blocks):
            pass


def bin_blocks(n_freqs, bin_bytes, block_bytes=BLOCK_BYTES):
    """Divide bins into slices of about so many bytes."""
    return list(gen_batches(n_freqs, max(1, block_bytes // bin_bytes)))


@cache
def even_slices(size):
    """Divide a range into at most `N_PARTS` slices of about the same length."""
    return tuple(gen_even_slices(size, min(N_PARTS, size))) if size else ()
