"""Threads for the hot loops: blocks of an array, as many at a time as BLAS may use."""

# License: BSD-3-Clause

from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache, partial
from threading import Event, Lock, local

from sklearn import config_context, get_config
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
# Of a thread: the `map` that it has; and if `side_by_side` has started it, how many
# threads it may use, and when to stop.
_share = local()


@contextmanager
def block_map():
    """Provide a `map` that works on several blocks at a time.

    There are as many threads as BLAS would use, which ``OMP_NUM_THREADS``,
    `threadpoolctl` and joblib's processes limit. BLAS itself gets one thread meanwhile:
    its products are too small here to be divided. Where another thread of the process
    is at it already, the processors have enough to do, and blocks come in turn, as they
    do for what is called with a block. What is called otherwise shares the threads.

    Yields
    ------
    map_blocks : callable
        Used like `map`; results come in the order of the blocks.
    """
    if getattr(_share, "map", None) is not None:
        yield _share.map
        return
    with _threads() as n_threads:
        if n_threads == 1:
            stop = getattr(_share, "stop", None)
            yield map if stop is None else partial(_map_until, stop)
            return
        n_more = min(n_threads, N_PARTS) - 1
        with ThreadPoolExecutor(n_more) as pool:
            _share.map = partial(_map_shared, pool, n_more)
            try:
                yield _share.map
            finally:
                _share.map = None


@contextmanager
def _threads():
    """Yield the number of threads to use; all but the first to ask get one."""
    share = getattr(_share, "n_threads", None)
    if share is not None:
        _share.n_threads = 1
        try:
            yield share
        finally:
            _share.n_threads = share
        return
    if not _in_use.acquire(blocking=False):
        yield 1
        return
    try:
        libraries = threadpool_controller().info()
        blas = [lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"]
        n_threads = max(blas, default=1)
        if n_threads == 1:
            yield 1
            return
        with threadpool_controller().limit(limits=1, user_api="blas"):
            yield n_threads
    finally:
        _in_use.release()


def _map_shared(pool, n_more, function, *blocks):
    """Map in this thread, while others take blocks, too.

    With a future for each block, small ones took twice as long.
    """
    blocks = list(zip(*blocks, strict=False))
    left, results = deque(enumerate(blocks)), [None] * len(blocks)

    def work():
        try:
            while left:
                try:
                    i, args = left.popleft()
                except IndexError:  # another thread was faster
                    return
                results[i] = function(*args)
        finally:
            left.clear()  # if it failed

    n_more = min(n_more, len(blocks) - 1)
    others = [pool.submit(copy_context().run, work) for _ in range(n_more)]
    _share.map, own = None, _share.map
    try:
        work()
    finally:
        _share.map = own
        wait(others)
    for other in others:
        other.result()
    return iter(results)


def _map_until(stop, function, *blocks):
    """Map until an event is set."""
    for args in zip(*blocks, strict=False):
        if stop.is_set():
            raise CancelledError
        yield function(*args)


def side_by_side(function, items):
    """Call a function with a few items at the same time, which share the threads.

    The first call is made in this thread. Where it fails or is interrupted, the others
    stop at their next block.

    Parameters
    ----------
    function : callable
        Takes long, and works on its blocks by `block_map`.
    items : list
        What it is called with.

    Returns
    -------
    results : iterator
        In the order of the items. Where there is one thread only, they are called when
        they are asked for.
    """
    with _threads() as n_threads:
        if n_threads == 1 or len(items) < 2:
            return map(function, items)
        stop = Event()
        share = max(1, n_threads // len(items))
        config = get_config()

        def call(item):
            _share.n_threads, _share.stop = share, stop
            try:
                with config_context(**config):
                    return function(item)
            finally:
                del _share.n_threads, _share.stop

        with ThreadPoolExecutor(len(items) - 1) as pool:
            try:
                others = [
                    pool.submit(copy_context().run, call, item) for item in items[1:]
                ]
                first = call(items[0])
                return iter([first, *(other.result() for other in others)])
            finally:
                stop.set()


def map_some(function, blocks, least=4):
    """Call a function with blocks, several at a time if there are enough of them.

    Parameters
    ----------
    function : callable
        Takes a block.
    blocks : list
        Small ones.
    least : int, default=4
        Fewer blocks are done before threads have started.

    Returns
    -------
    results : list
        In the order of the blocks.
    """
    if len(blocks) < least:
        return [function(block) for block in blocks]
    with block_map() as map_blocks:
        return list(map_blocks(function, blocks))


def bin_blocks(n_freqs, bin_bytes, block_bytes=BLOCK_BYTES):
    """Divide bins into slices of about so many bytes."""
    return list(gen_batches(n_freqs, max(1, block_bytes // bin_bytes)))


@cache
def even_slices(size):
    """Divide a range into at most `N_PARTS` slices of about the same length."""
    return tuple(gen_even_slices(size, min(N_PARTS, size))) if size else ()
