"""Long recordings in blocks."""

# License: BSD-3-Clause

import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skbss import ISTFT, STFT, AuxIVA, BlockBatch, ProjectionBack, SoundPipeline
from skbss.blocks.block_batch import _warn_of_rare
from skbss.blocks.joining import (
    Activity,
    busiest,
    crossfade,
    spans_of,
)
from skbss.blocks.order import Order
from skbss.blocks.tracks import Tracks, best_order, describe, waveform_similarity
from skbss.blocks.voices import describe_voices
from skbss.callbacks import OnProgress
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_improvement

# Seconds are short here, so that 5 s of sound are more than a minute of them.
RATE = 1000


def pipe(max_iter=15):
    separator = AuxIVA(max_iter=max_iter)
    return make_pipeline(STFT(n_fft=1024), separator, ProjectionBack(), ISTFT())


@pytest.fixture(scope="module")
def recording():
    return make_convolutive_mixture(66_123, rt60=0.05, random_state=0)


@pytest.fixture(scope="module")
def separated(recording):
    separator = BlockBatch(pipe(), sample_rate=RATE)
    return separator, separator.fit_transform(recording[0])


def test_separates_in_one_order_throughout(recording, separated):
    x, reference = recording
    separator, y = separated
    assert y.shape == x.shape
    assert separator.n_blocks_ == 5
    assert si_sdr_improvement(reference, y, x).min() > 10
    assert separator.span_ == (0, len(x))
    assert (separator.active_seconds_ > 20).all()


def test_blocks_on_their_own_keep_one_order(recording):
    x, reference = recording
    y = BlockBatch(pipe(), refine=None, sample_rate=RATE).fit_transform(x)
    # Outputs that swap between blocks would score about 0.
    assert si_sdr_improvement(reference, y, x).min() > 6


def test_pieces_are_the_whole(recording, separated):
    separator, y = clone(separated[0]), separated[1]
    pieces = list(separator.iter_fit_transform(recording[0]))
    assert len(pieces) == 2
    assert max(map(len, pieces)) <= 40 * RATE
    assert_array_equal(np.concatenate(pieces), y)
    assert_array_equal(np.concatenate(list(separator.iter_transform(recording[0]))), y)
    assert_array_equal(clone(separator).fit(recording[0]).transform(recording[0]), y)


class Reader:
    """Gives parts of an array, and remembers the longest."""

    def __init__(self, x):
        self.x, self.shape, self.dtype, self.longest = x, x.shape, x.dtype, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, part):
        part = self.x[part]
        self.longest = max(self.longest, len(part))
        return part


def test_readers_and_memory_maps(recording, separated, tmp_path):
    x = recording[0]
    reader = Reader(x)
    assert_array_equal(clone(separated[0]).fit_transform(reader), separated[1])
    assert reader.longest == len(x)
    memmap = np.memmap(tmp_path / "x", x.dtype, "w+", shape=x.shape)
    memmap[:] = x
    assert_array_equal(separated[0].transform(memmap), separated[1])
    integers = np.rint(x / abs(x).max() * 32767).astype(np.int16)
    y = separated[0].transform(Reader(integers))
    assert y.dtype == np.float32
    expected = separated[0].transform(integers / 32768)
    assert_array_equal(separated[0].transform(integers), expected)
    assert_allclose(y, expected, atol=1e-5)  # in single precision
    with pytest.raises(ValueError, match="has 1 features"):
        separated[0].transform(Reader(x[:, :1]))
    with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
        separated[0].fit(Reader(x[:0]))


def test_long_recordings_are_never_read_at_once(recording, monkeypatch):
    monkeypatch.setattr("skbss.blocks.block_batch.LONGEST", 45)
    x, reference = recording
    reader = Reader(x)
    separator = BlockBatch(pipe(), sample_rate=RATE)
    y = separator.fit_transform(reader)
    start, stop = separator.span_
    assert stop - start == reader.longest == 45 * RATE
    assert si_sdr_improvement(reference, y, x).min() > 10


def test_results_do_not_depend_on_processes(recording, separated):
    separator = clone(separated[0]).set_params(n_jobs=2)
    assert_array_equal(separator.fit_transform(recording[0]), separated[1])


def test_results_do_not_depend_on_level(recording, separated):
    x, y = recording[0], separated[1]
    for gain in (2.0**-100, 2.0**100):
        z = clone(separated[0]).fit_transform(gain * x) / gain
        assert_allclose(z, y, rtol=0, atol=1e-9 * abs(y).max())


def test_single_precision_stays(recording):
    x, reference = recording
    separator = BlockBatch(pipe(), sample_rate=RATE)
    y = separator.fit_transform(x.astype(np.float32))
    assert y.dtype == np.float32
    assert si_sdr_improvement(reference, y, x).min() > 10


def test_a_short_recording_is_one_block(recording):
    x = recording[0][:8000]
    separator = BlockBatch(pipe(), refine=None, sample_rate=RATE)
    assert_array_equal(separator.fit_transform(x), pipe().fit_transform(x))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore:The one who speaks", "ignore:What was learned")
@pytest.mark.parametrize("refine", ["auto", None])
def test_silence_and_dead_microphones(recording, refine):
    x = recording[0][:65_000].copy()
    x[:20_000] = 0
    x[30_000:50_000, 1] = 0
    separator = BlockBatch(pipe(2), refine=refine, sample_rate=RATE)
    for signal in (x, 0 * x, x[:, [0, 0]]):
        assert np.isfinite(separator.fit_transform(signal)).all()


def test_progress(recording):
    fractions = []
    separator = BlockBatch(pipe(1), sample_rate=RATE)
    separator.set_callbacks(OnProgress(fractions.append))
    for _ in separator.iter_fit_transform(recording[0]):
        pass
    assert_allclose(fractions, np.arange(1, 9) / 8)
    assert not hasattr(separator, "_callback_fit_ctx")


def test_overlap_of_more_than_half_a_block_is_refused():
    with pytest.raises(ValueError, match=r"overlap=11, expected at most half of"):
        BlockBatch(pipe(), block=20, overlap=11).fit(np.ones((30, 2)))


@pytest.mark.parametrize("n_samples", [1, 19, 20, 21, 35, 36, 37, 80])
@pytest.mark.parametrize("overlap", [0, 1, 4, 10])
def test_blocks_cover_all_and_join_again(n_samples, overlap):
    x = np.random.default_rng(0).normal(size=(n_samples, 2))
    spans = spans_of(n_samples, 20, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == n_samples
    assert {b - a for a, b in spans} == {min(n_samples, 20)}
    steps = pairwise(spans)
    assert all(stop - start >= overlap for (_, stop), (start, _) in steps)
    pieces = list(crossfade((x[a:b] for a, b in spans), spans, overlap))
    assert_allclose(np.concatenate(pieces), x, rtol=1e-12, atol=1e-12)


def test_tracks_recognize_columns():
    rng = np.random.default_rng(0)
    n, order = 8000, np.array([2, 0, 1])
    filters = rng.normal(size=(3, 3, 20)) * np.exp(-np.arange(20) / 5)

    def block():
        y = rng.laplace(size=(n, 3))
        images = [
            [np.convolve(v, h)[:n] for h in f]
            for v, f in zip(y.T, filters, strict=True)
        ]
        return np.sum(images, axis=0).T, y

    x, y = block()
    tracks = Tracks(describe(x, y, 128))
    x, y = block()
    similarity = tracks.similarity(describe(x, y[:, order], 128))
    assert similarity.shape == (3, 3)
    assert (similarity >= 0).all()
    assert (similarity <= 1 + 1e-9).all()
    assert_array_equal(order[best_order(similarity)], [0, 1, 2])


def test_waveforms_recognize_themselves():
    z = np.random.default_rng(0).normal(size=(1000, 3))
    z[:, 2] = 0
    similarity = waveform_similarity(z, -2 * z[:, [1, 0, 2]])
    assert_allclose(similarity[:2, :2], [[0, 1], [1, 0]], atol=0.1)
    assert_array_equal(similarity[2], 0)


def test_activity_of_pieces_is_that_of_the_whole():
    y = np.random.default_rng(0).normal(size=(1000, 2))
    y[200:600, 1] *= 1e-3
    activity = Activity(100)
    for piece in np.array_split(y, 7):
        activity.add(piece)
    active = activity.is_active()
    assert active[:, 0].all()
    assert_array_equal(np.flatnonzero(~active[:, 1]), [2, 3, 4, 5])


def test_a_rare_talker_is_told():
    active = np.ones((100, 2), dtype=bool)
    active[12:, 1] = False
    start, counts = busiest(active, 60)
    with pytest.warns(UserWarning, match="for 12 s in the best minutes.* from 0 s"):
        _warn_of_rare(active, start, counts)
    active[:, 1] = False
    _warn_of_rare(active, 0, np.array([60, 0]))


def test_the_busiest_stretch_has_the_rarest():
    active = np.zeros((100, 3), dtype=bool)
    active[:, 0] = True
    active[70:80, 1] = True  # and the third never
    start, counts = busiest(active, 20)
    assert_array_equal(counts, [20, 10, 0])
    assert 60 <= start <= 70
    assert busiest(active, 1000)[0] == 0


def test_people_who_move_are_noticed():
    # Two minutes of seconds, in which everybody is elsewhere every 20 of them.
    places = [
        make_convolutive_mixture(10_000, rt60=0.03, random_state=k)[0] for k in range(6)
    ]
    x = np.concatenate(places)
    separator = BlockBatch(pipe(), block=10, overlap=2, sample_rate=500)
    with pytest.warns(UserWarning, match="people seem to move"):
        y = separator.fit_transform(x)
    assert separator.is_moving_
    assert y.shape == x.shape
    assert_array_equal(separator.transform(x), y)


def test_voices_are_recognized():
    rng = np.random.default_rng(0)
    rate = 8000
    time = np.arange(4 * rate) / rate

    def voices(order):
        parts = []
        for pitch, formant in ((110, 700), (210, 1800)):
            steps = pitch * 2 ** (rng.normal(size=16) / 12)
            phase = 2 * np.pi * np.cumsum(np.repeat(steps, len(time) // 16)) / rate
            tone = sum(
                np.sin(k * phase) / (1 + abs(k * pitch - formant) / 300)
                for k in range(1, int(3500 / pitch))
            )
            loud = np.repeat(rng.uniform(size=16), len(time) // 16)
            parts.append(loud * tone + 0.01 * rng.normal(size=len(time)))
        return describe_voices(np.array(parts).T[:, order], rate)

    known = voices([0, 1]).joined(voices([0, 1]))
    assert_array_equal(best_order(known.similarity(voices([1, 0]))), [1, 0])
    assert_array_equal(best_order(known.similarity(voices([0, 1]))), [0, 1])
    silent = describe_voices(np.zeros((4000, 2)), rate)
    assert np.isfinite(silent.similarity(known)).all()
    assert np.isfinite(silent.similarity(silent)).all()


def test_order_goes_on_by_voices_where_places_mean_nothing():
    x, y = make_convolutive_mixture(8000, return_images=True, random_state=0)[:2]
    order = Order(moving=True)
    halves = []
    for k, swapped in enumerate([False, False, False, True, True]):
        take = [1, 0] if swapped else [0, 1]
        z = y[1000 * k : 1000 * k + 2000][:, take]
        block = x[1000 * k : 1000 * k + 2000]
        if k == 2:  # where one jumps, outputs are mixtures
            z = z @ np.array([[1, 0.9], [-0.9, 1]])
        span = 1000 * k, 1000 * k + 2000
        placed = order.place(
            span, z, describe(block, z, 128), describe_voices(z, 16_000)
        )
        halves.append(placed)
    assert_allclose(halves[1], y[1000:3000])
    shared = waveform_similarity(halves[3][1000:], halves[4][:1000])
    assert_allclose(np.diag(shared), 1)


@pytest.mark.parametrize("refine", [None, "auto"])
def test_what_is_wrong_is_said_once(recording, refine):
    limit = abs(recording[0]).max() / 4
    x = np.clip(recording[0], -limit, limit)
    pipeline = SoundPipeline(pipe(1).steps, sample_rate=RATE)
    blocks = BlockBatch(pipeline, refine=refine, sample_rate=RATE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        blocks.fit_transform(x)
    assert sum("clipped" in str(warning.message) for warning in told) == 1
