"""Threads change how long it takes, and not a bit of the result."""

# License: BSD-3-Clause

import threading
import time

import numpy as np
import pytest
from sklearn import config_context, get_config
from threadpoolctl import threadpool_info, threadpool_limits

from skbss import ILRMA, AuxIVA
from skbss.parallel import N_PARTS, block_map, even_slices, side_by_side
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
    return make_record(n_mics=3, n_samples=30_000)


@pytest.mark.parametrize(
    "separator",
    [
        AuxIVA(max_iter=4),
        AuxIVA("cliques", max_iter=3),
        AuxIVA(n_sources=2, max_iter=2, spatial="ip2"),
        ILRMA(max_iter=2, init="identity", update="me", random_state=0),
        ILRMA(n_basis=3, spatial="iss2", max_iter=2, init_iter=2, random_state=0),
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


def test_side_by_side_at_the_same_time_and_in_order():
    barrier = threading.Barrier(2, timeout=10)

    def meet(item):
        barrier.wait()
        return item, get_config()["assume_finite"], np.geterr()["divide"]

    with (
        threadpool_limits(2, user_api="blas"),
        config_context(assume_finite=True),
        np.errstate(divide="raise"),
    ):
        results = list(side_by_side(meet, ["a", "b"]))
        assert blas_threads() == {2}
    assert results == [("a", True, "raise"), ("b", True, "raise")]


def test_side_by_side_with_one_thread_is_map():
    called = []
    with threadpool_limits(1, user_api="blas"):
        results = side_by_side(called.append, ["a", "b"])
        next(results)
    assert called == ["a"]


@pytest.mark.parametrize(("n_threads", "n_inside"), [(2, 1), (3, 1), (4, 2)])
def test_side_by_side_shares_the_threads(n_threads, n_inside):
    lock, running, most = threading.Lock(), set(), []

    def note(_):
        with lock:
            running.add(threading.get_ident())
        time.sleep(0.01)
        with block_map() as map_blocks:  # as what is called in a block may ask again
            list(map_blocks(time.sleep, [0.001] * 4))
        return threading.get_ident()

    def work(_):
        with block_map() as map_blocks:
            idents = set(map_blocks(note, range(12)))
            with block_map() as again:
                if n_inside == 1:
                    assert set(again(note, range(4))) == {threading.get_ident()}
                else:
                    assert again is map_blocks
        most.append(len(idents))

    with threadpool_limits(n_threads, user_api="blas"):
        list(side_by_side(work, range(2)))
    assert most == [n_inside] * 2
    assert len(running - {threading.get_ident()}) <= n_threads + 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_side_by_side_stops_when_the_first_fails(error):
    begun, n_blocks = threading.Event(), 10_000
    done = []

    def work(item):
        if item == 0:
            assert begun.wait(10)
            raise error
        with block_map() as map_blocks:
            for block in map_blocks(lambda block: block, range(n_blocks)):
                done.append(block)
                begun.set()
                time.sleep(0.01)

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(error):
            side_by_side(work, range(2))
        assert 0 < len(done) < n_blocks
        with block_map() as map_blocks:  # all is as before
            assert map_blocks is not map


def test_side_by_side_raises_what_others_raise():
    def work(item):
        return 1 / item

    with threadpool_limits(2, user_api="blas"), pytest.raises(ZeroDivisionError):
        list(side_by_side(work, [1, 0]))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
def test_even_slices(size):
    slices = even_slices(size)
    assert len(slices) == min(size, N_PARTS)
    assert [i for s in slices for i in range(size)[s]] == list(range(size))
    sizes = [s.stop - s.start for s in slices]
    assert max(sizes) - min(sizes) <= 1
