"""Threads change how long it takes, and not a bit of the result."""

# License: BSD-3-Clause

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from skbss import ILRMA, AuxIVA
from skbss.parallel import N_PARTS, block_map, even_slices
from tests.conftest import make_record


def blas_threads():
    return {
        lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
    }


def fail(block):
    raise ValueError("Of the block.")


@pytest.fixture(scope="module")
def long_record():
    """Long enough for several parts of frames and of bins."""
    return make_record(n_mics=3, n_samples=40_000)


@pytest.mark.parametrize(
    "separator",
    [
        AuxIVA(max_iter=4),
        AuxIVA("cliques", max_iter=3),
        AuxIVA(n_sources=2, max_iter=4, spatial="ip2"),
        ILRMA(max_iter=4, init_iter=3, random_state=0),
        ILRMA(max_iter=4, init="identity", update="me", random_state=0),
        ILRMA(n_basis=3, spatial="iss2", max_iter=4, random_state=0),
    ],
    ids=repr,
)
def test_results_do_not_depend_on_threads(separator, long_record):
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads, user_api="blas"):
            results.append(separator.fit(long_record).demixing_)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_blocks_go_to_several_threads_in_order():
    barrier = threading.Barrier(2, timeout=10)  # passed by two threads at a time only

    def meet(block):
        barrier.wait()
        return block

    with threadpool_limits(2, user_api="blas"), block_map() as map_blocks:
        assert blas_threads() == {1}
        assert list(map_blocks(meet, range(4))) == [0, 1, 2, 3]


def test_one_thread_of_blas_is_one_thread():
    with threadpool_limits(1, user_api="blas"), block_map() as map_blocks:
        assert map_blocks is map


def test_blas_is_as_before():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with block_map() as map_blocks, pytest.raises(ValueError, match="block"):
            list(map_blocks(fail, range(2)))
        assert blas_threads() == before
        with block_map() as map_blocks:
            assert map_blocks is not map


def test_separators_in_threads_share_the_processors():
    """The second one works in its own thread only."""
    with threadpool_limits(2, user_api="blas"), block_map():
        found = []

        def other():
            with block_map() as map_blocks:
                found.append(map_blocks)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [map]


def test_separators_in_threads_are_right(long_record):
    def make():
        return ILRMA(max_iter=5, init_iter=2, random_state=0)

    expected = make().fit(long_record).demixing_
    separators = [make() for _ in range(4)]
    with threadpool_limits(2, user_api="blas"):
        threads = [
            threading.Thread(target=s.fit, args=(long_record,)) for s in separators
        ]
        for thread in threads:
            thread.start()
            time.sleep(0.01)
        for thread in threads:
            thread.join()
    for separator in separators:
        np.testing.assert_array_equal(separator.demixing_, expected)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
def test_even_slices(size):
    slices = even_slices(size)
    assert len(slices) == min(size, N_PARTS)
    assert [i for s in slices for i in range(size)[s]] == list(range(size))
    sizes = [s.stop - s.start for s in slices]
    assert max(sizes) - min(sizes) <= 1
