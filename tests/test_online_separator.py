"""OnlineSeparator: blocks, latency, state, faults, jumps, and its parts."""

# License: BSD-3-Clause

import io
import pickle

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import ISTFT, STFT, CrosstalkCanceller, OnlineSeparator
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr, si_sdr_improvement
from skbss.separators._filter_bank import FilterBank
from skbss.separators._history import History
from skbss.separators._window import run
from skbss.updates.filters import filtered, impulse_responses, resample, short_filters
from skbss.updates.jumps import coherence
from skbss.updates.leaks import canceller, convolved, learn_leaks
from skbss.updates.source import Cliques

RATE = 8000


def mixture(seconds, seed=0, **params):
    x, sources = make_convolutive_mixture(
        round(seconds * RATE), sample_rate=RATE, random_state=seed, **params
    )
    return x.astype(np.float32), sources


def in_blocks(separator, x, rng, most=3000, every=None):
    """Separate in blocks of random sizes, with a restart from the state at times."""
    outputs, start = [], 0
    while start < len(x):
        n = rng.integers(1, most)
        outputs.append(separator.partial_fit_transform(x[start : start + n]))
        start += n
        if every and rng.integers(every) == 0:
            file = io.BytesIO()
            np.savez(file, **separator.get_state())
            file.seek(0)
            twin = OnlineSeparator(**separator.get_params())
            separator = twin.set_state(np.load(file))
    return np.concatenate([*outputs, separator.flush()])


@pytest.fixture(scope="module")
def scene():
    return mixture(7)


def convolves(estimator):
    reason = "it convolves, so an output sample depends on neighboring samples"
    names = "sample_order_invariance", "subset_invariance"
    return {f"check_methods_{name}": reason for name in names}


@parametrize_with_checks([OnlineSeparator()], expected_failed_checks=convolves)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module", params=[0.008, 0.128, 1.0])
def separated_at_once(scene, request):
    """The latency, and what comes out."""
    separator = OnlineSeparator(RATE, latency=request.param)
    return request.param, separator.fit_transform(scene[0])


def test_outputs_depend_neither_on_blocks_nor_on_restarts(scene, separated_at_once):
    x, _ = scene
    latency, expected = separated_at_once
    assert expected.shape == x.shape
    assert expected.dtype == np.float32
    rng = np.random.default_rng(0)
    separator = OnlineSeparator(RATE, latency=latency)
    separated = in_blocks(separator, x, rng, every=8)
    np.testing.assert_array_equal(separated, expected)


def test_it_separates(scene, separated_at_once):
    x, sources = scene
    latency, y = separated_at_once
    late = slice(4 * RATE, None)
    least = 5 if latency == 0.008 else 8
    assert si_sdr_improvement(sources[late], y[late], x[late]).min() > least


@pytest.mark.parametrize("latency", [0.008, 0.0123, 0.1, 0.5, 2.0])
def test_latency_is_exact(latency):
    separator = OnlineSeparator(RATE, latency=latency)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * RATE, 2)) * (rng.random(3 * RATE) < 0.5)[:, None]
    n_in = n_out = 0
    for block in np.split(x, [7, 7, 64, 100, 5000]):
        y = separator.partial_fit_transform(block)
        n_in, n_out = n_in + len(block), n_out + len(y)
        assert separator.n_samples_latency_ == round(latency * RATE)
        assert n_out == max(0, n_in - separator.n_samples_latency_)
    assert n_out + len(separator.flush()) == n_in


def test_before_anything_is_known_outputs_are_the_microphone():
    x, _ = mixture(1)
    y = OnlineSeparator(RATE, ref_mic=1).fit_transform(x)
    np.testing.assert_allclose(y, x[:, [1, 1]], atol=1e-6 * abs(x).max())


def test_transform_applies_what_was_learned(scene):
    x, sources = scene
    separator = OnlineSeparator(RATE).fit(x)
    y = separator.transform(x)
    assert si_sdr_improvement(sources, y, x).min() > 8
    np.testing.assert_array_equal(y, separator.transform(x))
    assert list(separator.get_feature_names_out()) == ["source0", "source1"]


def test_fewer_sources_than_microphones():
    x, sources = mixture(6, n_mics=3)
    y = OnlineSeparator(RATE, n_sources=2).fit_transform(x)
    assert y.shape == (len(x), 2)
    late = slice(4 * RATE, None)
    assert si_sdr_improvement(sources[late], y[late], x[late]).min() > 5


def test_state_of_another_kind_is_refused(scene):
    x, _ = scene
    separator = OnlineSeparator(RATE).fit(x[: 3 * RATE])
    state = separator.get_state()
    other = OnlineSeparator(RATE, latency=0.5)
    with pytest.raises(ValueError, match="shape"):
        other.set_state(state)
    with pytest.raises(ValueError, match="missing or unknown"):
        other.set_state({k: v for k, v in state.items() if k != "n_in"})
    wrong = {"bank.past": state["bank.past"] + np.nan}
    with pytest.raises(ValueError, match="isn't finite"):
        OnlineSeparator(RATE).set_state(state | wrong)
    wrong = {"learner.tasks": np.array([[1, 2 * RATE, 10**6]])}
    with pytest.raises(ValueError, match="of one piece"):
        OnlineSeparator(RATE).set_state(state | wrong)
    assert not hasattr(other, "n_samples_latency_")


def test_pickle_goes_on(scene):
    x, _ = scene
    separator = OnlineSeparator(RATE).fit(x[: 2 * RATE + 600])
    assert separator._learner.tasks  # in the middle of an update
    twin = pickle.loads(pickle.dumps(separator))
    block = x[3 * RATE : 5 * RATE]
    expected = separator.partial_fit_transform(block)
    np.testing.assert_array_equal(twin.partial_fit_transform(block), expected)


def test_bad_blocks_are_refused_and_change_nothing(scene):
    x, _ = scene
    separator = OnlineSeparator(RATE).fit(x[:RATE])
    before = separator.get_state()
    for bad in (np.full((5, 2), np.nan), np.full((5, 2), 1e16), x[:5, :1], x[:5, 0]):
        with pytest.raises(ValueError, match=r"NaN|up to|features|2D array"):
            separator.partial_fit_transform(bad)
    after = separator.get_state()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_faults_leave_separation_as_it_was():
    x, sources = mixture(6)
    rng = np.random.default_rng(0)
    pause = np.zeros((4 * RATE, 2), np.float32)
    clicks = x[-RATE:].copy()
    clicks[rng.integers(RATE, size=20)] += 30 * abs(x).max()
    dead = x[-RATE:] * np.float32([1, 0])
    separator = OnlineSeparator(RATE).fit(x)
    for fault in (pause, pause + 1e-4 * x.std(), clicks, dead, 1e-3 * x, x):
        y = separator.partial_fit_transform(fault)
        assert np.isfinite(y).all()
    y = separator.partial_fit_transform(np.concatenate([x, x[:1024]]))[-len(x) :]
    assert si_sdr_improvement(sources, y, x).min() > 8


@pytest.mark.parametrize("level", [0, 1e-30, 1e-6, 1e6])
def test_levels(level):
    x, _ = mixture(3)
    y = OnlineSeparator(RATE).fit_transform(level * x.astype(float))
    expected = level * OnlineSeparator(RATE).fit_transform(x.astype(float))
    np.testing.assert_allclose(y, expected, atol=1e-2 * level * abs(x).max())


def test_dead_and_duplicate_microphones_are_finite():
    x, _ = mixture(3)
    for columns in ([0, 0], [0, 1, 0]):
        y = OnlineSeparator(RATE).fit_transform(x[:, columns])
        assert np.isfinite(y).all()
    assert np.isfinite(OnlineSeparator(RATE).fit_transform(x * [1, 0])).all()


def test_jumps_are_noticed():
    first, _ = mixture(8, seed=0)
    second, sources = mixture(7, seed=3)
    separator = OnlineSeparator(RATE, latency=0.5).fit(first)
    assert separator.n_jumps_ == 0
    y = separator.partial_fit_transform(second)
    assert separator.n_jumps_ == 1
    late = slice(-3 * RATE // 2, -RATE // 2)
    y = y[4000:][late]
    x = second[:-4000][late]
    assert si_sdr_improvement(sources[:-4000][late], y, x).min() > 5


def test_a_filter_bank_filters_and_fades():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 2)).astype(np.float32)
    g = 0.02 * rng.normal(size=(2, 2, 300)).astype(np.float32)
    bank = FilterBank(2, 2, n_taps=300, n_future=50, block=64, fade=128, delay=128)
    bank.exchange(g, 1000)
    y = np.concatenate([bank.process(block) for block in x.reshape(-1, 64, 2)])
    y = y[50 + 128 :]
    np.testing.assert_allclose(y[:1000], x[:1000, [0, 0]], atol=1e-5)
    expected = filtered(x.T, g).T  # from sample 249 on
    np.testing.assert_allclose(y[1249:3000], expected[1000 : 3000 - 249], atol=1e-5)


def test_filters_of_another_length_are_the_same_filters():
    rng = np.random.default_rng(0)
    decay = np.exp(-abs(np.arange(-32, 32)) / 3)
    g = rng.normal(size=(2, 2, 64)) * decay
    W = np.fft.rfft(np.roll(g, 32, axis=2))
    longer = resample(W, 256)
    np.testing.assert_allclose(impulse_responses(longer)[..., 96:160], g, atol=1e-12)
    np.testing.assert_allclose(resample(longer, 64), W, atol=1e-12)


def test_short_filters_are_better_than_cut_ones():
    x, _ = mixture(4)
    W = OnlineSeparator(RATE).fit(x)._learner.W
    n_fft = 2 * (W.shape[2] - 1)
    teacher = impulse_responses(W)
    target = filtered(x.T, teacher)
    g = run(short_filters(x.T, teacher, n_fft // 2, 16, n_fft // 2 + 16))
    cut = impulse_responses(W)[..., n_fft // 2 - 16 :]
    first = n_fft // 2 - 16  # filters that look ahead less begin earlier
    errors = []
    for h in (g, cut):
        y = filtered(x.T, h)[:, : target.shape[1] + first]
        skip = len(x) - h.shape[2] + 1 - target.shape[1]
        y = filtered(x.T, h)[:, : skip + target.shape[1]][:, -target.shape[1] :]
        errors.append(np.square(y[:, :-first] - target[:, first:]).mean())
    assert errors[0] < 0.5 * errors[1]


def test_leaks_are_canceled_by_filters_in_time():
    rng = np.random.default_rng(0)
    loud = rng.random((80, 2)).repeat(400, axis=0) ** 4
    sources = loud * rng.normal(size=loud.shape)
    leaks = 0.3 * np.roll(sources, 300, axis=0)
    y = (sources + leaks[:, ::-1] - leaks).astype(np.float32)
    stft = STFT(512, hop_length=256).fit(y)
    step = CrosstalkCanceller().fit(stft.transform(y))
    expected = ISTFT().fit_transform(step.transform(stft.transform(y)))
    lags = step.lags_
    ridge = 1 / (0.3 * len(stft.transform(y).data) * 0.5 ** abs(lags))
    found = run(learn_leaks(stft.transform(y).data, Cliques(n_bands=1024), lags, ridge))
    h = canceller(found, lags, 256, 1024, 4096)
    padded = np.pad(y.T, ((0, 0), (3071, 1024)))
    z = filtered(padded, h).T
    errors = [np.square(s - sources).mean() for s in (y, expected, z)]
    assert errors[2] < 0.5 * errors[0]
    assert errors[2] < 1.2 * errors[1]
    np.testing.assert_allclose(z.sum(1), y.sum(1), atol=1e-4)
    g = rng.normal(size=(2, 3, 5))
    both = filtered(rng.normal(size=(3, 9000)), convolved(h, g))
    x = rng.normal(size=(3, 9000))
    both = filtered(x, convolved(h, g))
    np.testing.assert_allclose(both, filtered(filtered(x, g), h), atol=1e-3)


def test_coherence_tells_mixtures_from_sources():
    _, sources = mixture(1)
    assert coherence(sources.T, 512)[0] < 0.2
    mixed = sources @ [[1, 0.8], [0.7, 1]]
    value, power = coherence(mixed.T, 512)
    assert value > 0.4
    assert coherence(mixed.T, 512, 100 * power)[0] < 0.1


def test_history_leaves_out_what_teaches_nothing():
    rng = np.random.default_rng(0)
    history = History(2, 10, 20, rate=10)
    x = rng.normal(size=(10, 2))
    assert [history.append(x)[0] for _ in range(5)] == [True] * 5
    assert not history.append(0 * x)[0]
    assert not history.append(1e-4 * x)[0]
    assert not history.append(x * [1, 0])[0]
    assert history.append(x) == (True, False)
    assert history.end == 60
    assert history.place_of(55) == 85
    np.testing.assert_array_equal(history.read(-3, 2)[:, :3], 0)
    np.testing.assert_allclose(history.read(50, 60), x.T.astype(np.float32))
    gone = [history.append(x * [1, 0]) for _ in range(100)]
    assert gone[-1] == (True, True)
    assert history.append(x * [1, 0]) == (True, False)
    assert history.append(x) == (True, True)


def test_swapped_sources_are_told():
    """The order of outputs is kept from one update to the next."""
    x, sources = mixture(8)
    y = OnlineSeparator(RATE).fit_transform(x)
    orders = [
        tuple(si_sdr(sources[part], y[part], return_permutation=True)[1])
        for part in (slice(3 * RATE, 5 * RATE), slice(6 * RATE, None))
    ]
    assert orders[0] == orders[1]


def test_a_click_teaches_nothing_and_leaves_a_gap():
    rng = np.random.default_rng(0)
    history = History(2, 512, 100, 31.25)
    for _ in range(50):
        assert history.append(rng.standard_normal((512, 2)))[0]
    assert history.is_whole(history.end - 5120, history.end)
    x = rng.standard_normal((512, 2))
    x[100] += 90
    assert not history.append(x)[0]
    history.append(rng.standard_normal((512, 2)))
    assert not history.is_whole(history.end - 5120, history.end)
    assert history.is_whole(history.end - 512, history.end)
