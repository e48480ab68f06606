"""Ranges of frequency come back to their outputs, and what is sorted is left alone."""

# License: BSD-3-Clause

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skbss import ISTFT, STFT, SortFrequencies, Spectrogram, make_separator
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.metrics import si_sdr
from skbss.updates.ranges import Sorting, block_weights, correlations, warped_edges
from tests.degenerate import DEGENERATE, record_of

RATE = 16_000


def speech(n_sources, n_samples=5 * RATE, seed=0):
    """Return the spectrogram of images of sources at a microphone."""
    _, images = make_convolutive_mixture(
        n_samples, n_sources, sample_rate=RATE, rt60=0.2, random_state=seed
    )
    return STFT(2048, sample_rate=RATE).fit_transform(images)


def swapped(record, swaps):
    """Swap ranges of bins: (first, end, the outputs that go there)."""
    order = np.tile(np.arange(record.shape[2]), (record.shape[1], 1))
    for start, stop, outputs in swaps:
        order[start:stop] = order[start:stop][:, outputs]
    return replace(record, data=np.take_along_axis(record.data, order[None], 2)), order


SWAPS = {
    1: [],
    2: [(20, 60, [1, 0]), (300, 500, [1, 0])],
    3: [(10, 40, [1, 2, 0]), (200, 420, [2, 1, 0]), (600, 800, [2, 0, 1])],
    4: [(10, 40, [1, 2, 0, 3]), (100, 240, [1, 0, 3, 2]), (700, 900, [0, 3, 2, 1])],
    8: [(30, 90, [1, 2, 0, 3, 4, 5, 7, 6]), (300, 460, [7, 1, 2, 3, 4, 5, 6, 0])],
}


def share_in_place(order, fitted_order):
    """Share of the bins in which the outputs are in one arrangement."""
    result = np.take_along_axis(order, fitted_order, axis=1)
    arrangements, counts = np.unique(result, axis=0, return_counts=True)
    best = arrangements[counts.argmax()]
    return (result == best).all(1).mean()


@pytest.mark.parametrize("n_sources", SWAPS)
def test_ranges_come_back(n_sources):
    record = speech(n_sources)
    mixed_up, order = swapped(record, SWAPS[n_sources])
    sort = SortFrequencies().fit(mixed_up)
    assert share_in_place(order, sort.order_) > 0.98
    if n_sources > 1:
        before, after = sort.agreement_
        assert after.mean() > before.mean()
        assert len(sort.swaps_) >= len(SWAPS[n_sources])


@pytest.mark.parametrize(("n_sources", "seed"), [(2, 0), (2, 1), (3, 2), (4, 0)])
def test_what_is_sorted_stays(n_sources, seed):
    record = speech(n_sources, seed=seed)
    Y = SortFrequencies().fit_transform(record)
    truth = ISTFT().fit_transform(record)
    score = si_sdr(truth, ISTFT().fit_transform(Y))
    assert (score > 30).all()


def test_a_separated_recording_is_mended_and_loses_nothing():
    recording = load_cocktail_party()
    rate = recording.sample_rate
    pipeline = make_separator("ilrma", sample_rate=rate, random_state=0)
    y = pipeline.fit_transform(recording.mixture)
    record = STFT(4096, sample_rate=rate).fit_transform(y)
    broken, _ = swapped(record, [(120, 400, [1, 0]), (700, 800, [1, 0])])
    sort = SortFrequencies()
    before, worse, mended, after = (
        si_sdr(recording.references, ISTFT().fit_transform(each))
        for each in (
            *(record, broken),
            *(sort.fit_transform(broken), sort.fit_transform(record)),
        )
    )
    assert worse.mean() < before.mean() - 3
    assert mended.mean() > before.mean() - 0.1
    assert (after > before - 0.1).all()


def reference_gain(G, weights, start, stop, cycle):
    """What a swap brings, from the definition."""

    def value(order):
        blocks = range(len(order))
        return sum(
            weights[b, c] * G[order[b, k], order[c, k], b, c]
            for b in blocks
            for c in blocks
            if b < c
            for k in range(len(G))
        )

    order = np.tile(np.arange(len(G)), (len(weights), 1))
    before = value(order)
    order[start:stop, list(cycle)] = order[start:stop, [*cycle[1:], cycle[0]]]
    return value(order) - before


@pytest.mark.parametrize("cycle", [(0, 2), (0, 1, 2), (0, 2, 1)])
def test_the_best_range_is_the_best_of_all(cycle, rng):
    X = rng.normal(size=(30, 12, 3)) + 1j * rng.normal(size=(30, 12, 3))
    G, _ = correlations(X, np.arange(0, 13, 2))
    weights = block_weights(6, 4.0)
    gain, start, stop = Sorting([G.copy()], weights).best_range(cycle)
    gains = {
        (s, e): reference_gain(G, weights, s, e, cycle)
        for s in range(6)
        for e in range(s + 1, 7)
    }
    assert gain == pytest.approx(max(gains.values()))
    assert gain == pytest.approx(gains[start, stop])


def test_gains_are_those_of_the_arrangement_now(rng):
    """Also after swaps, for cycles whose gains were kept."""
    X = rng.normal(size=(30, 20, 4)) + 1j * rng.normal(size=(30, 20, 4))
    G, _ = correlations(X, np.arange(0, 21, 2))
    weights = block_weights(10, 4.0)
    sorting = Sorting([G.copy()], weights)
    for _ in sorting.run(0.0, 5):
        b = np.arange(10)
        now = G[
            sorting.order.T[:, None, :, None],
            sorting.order.T[None, :, None, :],
            b[:, None],
            b,
        ]
        assert_allclose(sorting.parts[0], now, atol=1e-12)
        fresh = Sorting([now], weights)
        for cycle, found in sorting.found.items():
            assert found[0] == pytest.approx(fresh.best_range(cycle)[0])


def test_correlations_are_numpys(rng):
    X = rng.normal(size=(100, 9, 3)) + 1j * rng.normal(size=(100, 9, 3))
    edges = np.array([0, 1, 3, 9])
    power = abs(X) ** 2
    power /= power.sum(2).mean(0)[:, None]
    p = np.array([power[:, s:e].sum(1) for s, e in [(0, 1), (1, 3), (3, 9)]])
    p += 1e-6 * np.array([1, 2, 6])[:, None, None]
    share = p / p.sum(2, keepdims=True)
    expected = np.corrcoef(share.transpose(2, 0, 1).reshape(9, -1)).reshape(3, 3, 3, 3)
    assert_allclose(
        correlations(X, edges)[0], expected.transpose(0, 2, 1, 3), atol=1e-12
    )


@pytest.mark.parametrize("n_sources", [2, 3, 4])
def test_the_order_of_the_outputs_does_not_matter(n_sources):
    record, _ = swapped(speech(n_sources), SWAPS[n_sources])
    expected = SortFrequencies().fit_transform(record).data
    for order in list(permutations(range(n_sources)))[1:4]:
        other = replace(record, data=record.data[..., order])
        Y = SortFrequencies().fit_transform(other).data
        assert_array_equal(Y, expected[..., order])


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_the_level_does_not_matter(scale):
    record, _ = swapped(speech(3), SWAPS[3])
    order = SortFrequencies().fit(record).order_
    other = replace(record, data=record.data * scale)
    assert_array_equal(SortFrequencies().fit(other).order_, order)


def test_single_precision():
    record, _ = swapped(speech(3), SWAPS[3])
    sort = SortFrequencies().fit(record)
    for scale in (1e-30, 1, 1e30):
        single = replace(record, data=(record.data * scale).astype(np.complex64))
        twin = SortFrequencies().fit(single)
        assert_array_equal(twin.order_, sort.order_)
        assert twin.transform(single).data.dtype == np.complex64


def test_nothing_but_places_changes():
    record, _ = swapped(speech(3), SWAPS[3])
    mixing = np.arange(record.shape[1] * 12.0).reshape(1, -1, 4, 3) + 0j
    record = replace(record, mixing=mixing)
    Y = SortFrequencies().fit_transform(record)
    assert_array_equal(np.sort(Y.data, axis=2), np.sort(record.data, axis=2))
    microphones = (mixing[0] @ record.data[..., None])[..., 0]
    assert_allclose((Y.mixing[0] @ Y.data[..., None])[..., 0], microphones)
    assert Y.stft_params == record.stft_params
    assert Y.n_samples == record.n_samples


def test_matrices_of_each_frame_are_sorted_too(rng):
    record, _ = swapped(speech(2), SWAPS[2])
    mixing = rng.normal(size=(*record.shape[:2], 2, 2)) + 0j
    Y = SortFrequencies().fit_transform(replace(record, mixing=mixing))
    microphones = (mixing @ record.data[..., None])[..., 0]
    assert_allclose((Y.mixing @ Y.data[..., None])[..., 0], microphones)


def test_later_audio_is_sorted_alike():
    record, _ = swapped(speech(3), SWAPS[3])
    sort = SortFrequencies().fit(record)
    later, order = swapped(speech(3, seed=7), SWAPS[3])
    Y = sort.transform(later)
    assert_array_equal(Y.data, np.take_along_axis(later.data, sort.order_[None], 2))
    assert share_in_place(order, sort.order_) > 0.98


def test_arrays_are_those_of_16_khz():
    record, _ = swapped(speech(2), SWAPS[2])
    expected = SortFrequencies().fit_transform(record).data
    Y = SortFrequencies().fit_transform(record.data)
    assert isinstance(Y, np.ndarray)
    assert_array_equal(Y, expected)
    no_rate = replace(record, stft_params=record.stft_params | {"sample_rate": None})
    assert_array_equal(SortFrequencies().fit_transform(no_rate).data, expected)


@pytest.mark.parametrize("n_freqs", [1, 2, 3, 65, 2049])
@pytest.mark.parametrize("n_blocks", [1, 2, 256])
@pytest.mark.parametrize("rate", [1.0, 8000.0, 192_000.0])
def test_blocks_have_all_bins_once(n_freqs, n_blocks, rate):
    edges = warped_edges(n_freqs, rate, n_blocks)
    assert edges[0] == 0
    assert edges[-1] == n_freqs
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= n_blocks + 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_outputs(case, dtype):
    if "150" in case and dtype == np.complex64:
        return
    record = record_of(DEGENERATE[case].astype(dtype))
    sort = SortFrequencies(0.0).fit(record)
    Y = sort.transform(record)
    n_sources = record.shape[2]
    assert_array_equal(
        np.sort(sort.order_, axis=1), [range(n_sources)] * len(sort.order_)
    )
    assert_array_equal(np.sort(Y.data, axis=2), np.sort(record.data, axis=2))
    assert np.isfinite(sort.agreement_).all()
    assert Y.data.dtype == Y.mixing.dtype == dtype


@pytest.mark.parametrize("case", ["silence", "equal_outputs", "one_frame", "constant"])
def test_what_tells_nothing_is_left_as_it_is(case):
    sort = SortFrequencies().fit(DEGENERATE[case])
    assert sort.swaps_ == []
    assert_array_equal(sort.order_, [[0, 1]] * len(sort.order_))


def test_refusals():
    record = speech(2, 16_000)
    with pytest.raises(NotFittedError):
        SortFrequencies().transform(record)
    sort = SortFrequencies().fit(record)
    with pytest.raises(
        ValueError, match="3 features, but SortFrequencies is expecting"
    ):
        sort.transform(speech(3, 16_000))
    with pytest.raises(ValueError, match="fitted on 1025"):
        sort.transform(record.data[:, 1:])
    with pytest.raises(ValueError, match="complex"):
        sort.fit(abs(record.data))
    with pytest.raises(ValueError, match="'min_gain' parameter"):
        SortFrequencies(-1.0).fit(record)


def test_type_and_names():
    record = speech(2, 16_000)
    sort = SortFrequencies()
    assert isinstance(sort.fit_transform(record), Spectrogram)
    assert list(sort.get_feature_names_out()) == ["source0", "source1"]


def test_in_noise_swaps_must_be_confirmed(rng):
    """Shares that are chance agree by chance, in one part of the recording."""
    X = rng.normal(size=(120, 500, 3)) + 1j * rng.normal(size=(120, 500, 3))
    sort = SortFrequencies().fit(X)
    assert len(sort.swaps_) <= 3
    record, order = swapped(speech(2), SWAPS[2])
    noise = rng.normal(size=(*record.shape, 2)) @ [1, 1j]
    level = np.sqrt(np.mean(abs(record.data) ** 2))
    noisy = SortFrequencies().fit(
        replace(record, data=record.data + 0.2 * level * noise)
    )
    assert share_in_place(order, noisy.order_) > 0.8


def test_bass_of_the_second_stage_is_sorted():
    """What long windows give to the wrong output comes back before it is cancelled."""
    recording = load_cocktail_party()
    references, rate = recording.references, recording.sample_rate
    stft = STFT(1024, sample_rate=rate)
    record = stft.fit_transform(references)
    record.data[:, :16] = record.data[:, :16, ::-1]  # below 250 Hz
    outputs = ISTFT().fit_transform(record)
    stage = make_separator(sample_rate=rate)["second"].stage["cancel"]
    before = si_sdr(references, outputs, permute=False)
    after = si_sdr(references, stage.fit_transform(outputs), permute=False)
    assert (before < 10).all()
    assert (after > before + 10).all()
