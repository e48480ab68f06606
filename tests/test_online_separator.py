"""OnlineSeparator: blocks, latency, state, faults, jumps, and its parts."""

# License: BSD-3-Clause

import io
import pickle

import numpy as np
import pytest
from scipy.signal import lfilter
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import OnlineSeparator, make_separator
from skbss.datasets import make_convolutive_mixture
from skbss.live.decimator import Decimator
from skbss.live.filter_bank import FilterBank
from skbss.live.history import History
from skbss.live.known import Known, learn
from skbss.metrics import si_sdr, si_sdr_improvement
from skbss.updates.filters import (
    composed,
    filtered,
    filtered_throughout,
    impulse_responses,
    shortened,
)
from skbss.updates.jumps import at_unit_power, coherence, short_time
from skbss.updates.noise import liveliness_of_outputs

RATE = 8000


def separator_of(rate=RATE, **params):
    """A separator that learns from less sound, and less often, than by default."""
    return OnlineSeparator(rate, **{"window": 4.0, "period": 2.0} | params)


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
    return mixture(6, seed=1)


@pytest.fixture(scope="module")
def passes(scene):
    """The pass over the scene at each latency: the separator and its outputs."""
    separators = {k: separator_of(latency=k) for k in (0.008, 1.0)}
    return {k: (each, each.fit_transform(scene[0])) for k, each in separators.items()}


@parametrize_with_checks([OnlineSeparator()])
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("latency", [0.008, 1.0])
def test_outputs_depend_neither_on_blocks_nor_on_restarts(scene, passes, latency):
    x, _ = scene
    _, expected = passes[latency]
    assert expected.shape == x.shape
    assert expected.dtype == np.float32
    rng = np.random.default_rng(0)
    separator = separator_of(latency=latency)
    separated = in_blocks(separator, x, rng, every=12)
    np.testing.assert_array_equal(separated, expected)


@pytest.mark.parametrize(("latency", "least"), [(0.008, 5), (1.0, 8)])
def test_it_separates(scene, passes, latency, least):
    x, sources = scene
    _, y = passes[latency]
    late = slice(4 * RATE, None)
    assert si_sdr_improvement(sources[late], y[late], x[late]).min() > least


@pytest.mark.parametrize("latency", [0.008, 0.0123, 0.1, 0.5, 2.0])
def test_latency_is_exact(latency):
    separator = separator_of(latency=latency)
    rng = np.random.default_rng(0)
    n_samples = round((latency + 0.7) * RATE)
    x = rng.normal(size=(n_samples, 2)) * (rng.random(n_samples) < 0.5)[:, None]
    n_in = n_out = 0
    for block in np.split(x, [7, 7, 64, 100, 5000]):
        y = separator.partial_fit_transform(block)
        n_in, n_out = n_in + len(block), n_out + len(y)
        assert separator.n_samples_latency_ == round(latency * RATE)
        assert n_out == max(0, n_in - separator.n_samples_latency_)
    assert n_out + len(separator.flush()) == n_in


def test_before_anything_is_known_outputs_share_the_microphone():
    x, _ = mixture(1)
    separator = separator_of(ref_mic=1).fit(x)
    y = separator.fit_transform(x)
    np.testing.assert_allclose(2 * y, x[:, [1, 1]], atol=2e-6 * abs(x).max())
    np.testing.assert_array_equal(separator.transform(x), x[:, [1, 1]] / 2)


def test_transform_applies_what_was_learned(scene, passes):
    x, sources = scene
    separator, _ = passes[1.0]
    y = separator.transform(x)
    assert si_sdr_improvement(sources, y, x).min() > 8
    np.testing.assert_array_equal(y, separator.transform(x))
    assert list(separator.get_feature_names_out()) == ["source0", "source1"]


def test_fewer_sources_than_microphones():
    x, sources = mixture(5, n_mics=3)
    y = separator_of(n_sources=2).fit_transform(x)
    assert y.shape == (len(x), 2)
    late = slice(4 * RATE, None)
    assert si_sdr_improvement(sources[late], y[late], x[late]).min() > 5


def test_state_of_another_kind_is_refused(scene):
    x, _ = scene
    separator = separator_of().fit(x[: 3 * RATE])
    state = separator.get_state()
    other = separator_of(latency=0.5)
    with pytest.raises(ValueError, match="shape"):
        other.set_state(state)
    with pytest.raises(ValueError, match="missing or unknown"):
        other.set_state({k: v for k, v in state.items() if k != "n_in"})
    wrong = {"bank.past": state["bank.past"] + np.nan}
    with pytest.raises(ValueError, match="isn't finite"):
        separator_of().set_state(state | wrong)
    wrong = {"learner.voices": state["learner.voices"][:, :7]}
    with pytest.raises(ValueError, match="shape"):
        separator_of().set_state(state | wrong)
    assert not hasattr(other, "n_samples_latency_")


def test_pickle_goes_on(scene):
    x, _ = scene
    separator = separator_of().fit(x[: 3 * RATE // 2 + 1000])
    assert separator._learner.pending is not None  # in the middle of an update
    twin = pickle.loads(pickle.dumps(separator))
    block = x[3 * RATE : 5 * RATE]
    expected = separator.partial_fit_transform(block)
    np.testing.assert_array_equal(twin.partial_fit_transform(block), expected)


def test_bad_blocks_are_refused_and_change_nothing(scene):
    x, _ = scene
    separator = separator_of().fit(x[:RATE])
    before = separator.get_state()
    for bad in (np.full((5, 2), np.nan), np.full((5, 2), 1e16), x[:5, :1], x[:5, 0]):
        with pytest.raises(ValueError, match=r"NaN|up to|features|2D array"):
            separator.partial_fit_transform(bad)
    after = separator.get_state()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_faults_leave_separation_as_it_was():
    x, sources = mixture(4)
    rng = np.random.default_rng(0)
    pause = np.zeros((4 * RATE, 2), np.float32)
    clicks = x[-RATE:].copy()
    clicks[rng.integers(RATE, size=20)] += 30 * abs(x).max()
    dead = x[-RATE:] * np.float32([1, 0])
    separator = separator_of().fit(x)
    for fault in (pause, pause + 1e-4 * x.std(), clicks, dead, 1e-3 * x, x):
        y = separator.partial_fit_transform(fault)
        assert np.isfinite(y).all()
    y = separator.partial_fit_transform(np.concatenate([x, x[:1024]]))[-len(x) :]
    assert si_sdr_improvement(sources, y, x).min() > 8


def test_levels():
    x = mixture(2)[0].astype(float)
    separator = separator_of()
    expected = separator.fit_transform(x)
    assert separator._learner.known.filters is not None
    for level in (0, 1e-30, 1e6):
        y = separator_of().fit_transform(level * x)
        tolerance = 1e-2 * level * abs(x).max()
        np.testing.assert_allclose(y, level * expected, atol=tolerance)


def test_dead_and_duplicate_microphones_are_finite():
    x, _ = mixture(3)
    for columns in ([0, 0], [0, 1, 0]):
        y = separator_of().fit_transform(x[:, columns])
        assert np.isfinite(y).all()
    assert np.isfinite(separator_of().fit_transform(x * [1, 0])).all()


def test_jumps_are_noticed():
    first, _ = mixture(5, seed=0)
    second, sources = mixture(5, seed=3)
    separator = separator_of(latency=0.5, period=1.0).fit(first)
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
    np.testing.assert_allclose(y[:1000], x[:1000, [0, 0]] / 2, atol=1e-5)
    expected = filtered(x.T, g).T  # from sample 249 on
    np.testing.assert_allclose(y[1249:3000], expected[1000 : 3000 - 249], atol=1e-5)


@pytest.mark.parametrize("latency", [0.008, 0.032, 0.128, 1])
def test_little_of_the_latency_is_spent_on_waiting_for_a_block(latency):
    separator = OnlineSeparator(RATE, latency=latency).fit(np.ones((1, 2)))
    bank = separator._bank
    used = bank.n_future + bank.delay + bank.block - 1
    assert used == separator.n_samples_latency_
    assert bank.block <= max(latency / 32, 0.003) * RATE


def test_filters_of_a_separator_are_found_by_impulses():
    """They do what it does, also two in a row, whatever place of a hop they are at."""
    x = mixture(1)[0]
    separator = make_separator(sample_rate=RATE, random_state=0).fit(x)
    reach = 8192
    g = impulse_responses(separator["first"].transform, 2, reach)
    h = impulse_responses(separator["second"].transform, 2, reach)
    y = filtered_throughout(x.T, composed(h, g), reach).T
    expected = separator["second"].transform(separator["first"].transform(x))
    wrong = np.square(y - expected).mean() / np.square(expected).mean()
    assert wrong < 0.005  # what spectra are multiplied by is a filter, mostly


def test_filters_are_shortened_by_what_they_do():
    """They are those of a slow least squares."""
    rng = np.random.default_rng(0)
    x = np.zeros((2, 3000))
    x[:, 100:-100] = lfilter([1], [1, -0.8], rng.normal(size=(2, 2800)))
    g = rng.normal(size=(3, 2, 64)) * 0.8 ** abs(np.arange(64) - 32)
    y = filtered_throughout(x, g, 32)
    assert shortened(g, x, 64, 32, n_iter=0).tolist() == g.tolist()
    columns = [np.roll(x[m], j - 4) for m in range(2) for j in range(12)]
    slow = np.linalg.lstsq(np.array(columns).T, y.T, rcond=None)[0].T
    h = shortened(g, x, 12, 4, n_iter=30)
    np.testing.assert_allclose(h.reshape(3, -1), slow, atol=1e-3)
    assert abs(h - g[..., 28:40]).max() > 0.1  # not only cut


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_filters_learned_from_fewer_samples_fit_all_of_them(rate):
    phase = 2 * np.pi * np.arange(22_080)[:, None] / rate
    x = np.cos(phase * [440, 5000]).astype(np.float32)
    decimator = Decimator(2, rate)
    left = np.concatenate([decimator.process(block) for block in np.split(x, 10)])
    assert len(left) == len(x) // decimator.factor
    late = decimator.delay
    found = left[late // decimator.factor :]
    settled = slice(late, None)
    expected = x[: -late : decimator.factor]
    np.testing.assert_allclose(found[settled], expected[settled], atol=2e-3)
    n_low = decimator.n_future(500)
    g = np.zeros((1, 2, 300), np.float32)
    g[0, 1, n_low + 3] = 1  # three samples of the lower rate late
    wide = decimator.filters(g, 500, decimator.n_taps(300, 500))
    y = filtered(x.T, wide)[0]
    first = wide.shape[2] - 1 - 500 - 3 * decimator.factor
    np.testing.assert_allclose(y, x[first:, 1][: len(y)], atol=2e-3)


def test_high_frequencies_go_to_who_is_loud():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48_000, 2)).astype(np.float32)
    decimator = Decimator(2, 48_000)
    lowpass, n_taps = decimator.lowpass, 1000
    bank = FilterBank(
        2, 2, n_taps=n_taps, n_future=200, block=240, fade=480, lowpass=lowpass
    )
    g = 2 * bank.through
    g[1] *= 0.1
    bank.exchange(g, 0)
    y = np.concatenate([bank.process(block) for block in x.reshape(-1, 240, 2)])
    y = y[200 + 9600 :]
    spectra = abs(np.fft.rfft(y, axis=0)) / abs(np.fft.rfft(x[9600:-200, 0]))[:, None]
    highs = spectra[int(len(spectra) * 0.4) :]
    np.testing.assert_allclose(np.median(highs, axis=0), [0.99, 0.01], atol=0.02)


def test_coherence_tells_mixtures_from_sources():
    _, sources = mixture(1)
    assert coherence(sources.T, 512)[0] < 0.2
    mixed = sources @ [[1, 0.8], [0.7, 1]]
    value, power = coherence(mixed.T, 512)
    assert value > 0.4
    assert coherence(mixed.T, 512, 100 * power)[0] < 0.1


@pytest.mark.parametrize("loudness", [1, 10])
def test_what_leaks_of_who_is_alone_is_no_jump(loudness):
    """However loud he is: his output has become as much louder than the other's."""
    _, sources = mixture(1)
    usual = coherence(sources.T, 512)[1]
    alone = loudness * sources[:, :1] @ [[1, 0.1]]
    assert coherence(alone.T, 512)[0] > 0.9
    assert coherence(alone.T, 512, usual)[0] < 0.1


def test_voices_that_share_an_output_are_not_livelier():
    """They hide nothing in noise, where the other output has next to no voice."""
    _, sources = mixture(4)
    noise = 0.1 * sources.std() * np.random.default_rng(0).normal(size=sources.shape)
    apart = short_time((sources + noise).T, 512)
    together = short_time(np.stack([sources.sum(1) + noise[:, 0], noise[:, 1]]), 512)
    lively, less = (
        liveliness_of_outputs(at_unit_power(Y).swapaxes(1, 2), 0.1)
        for Y in (apart, together)
    )
    assert less < 0.8 * lively


def test_somebody_who_begins_to_speak_is_no_click():
    """A rise of 40 dB is kept after 0.15 s; bursts of clicks aren't for a second."""
    rng = np.random.default_rng(0)
    history = History(2, 512, 100, 31.25)
    quiet, loud = 0.01 * rng.normal(size=(10, 512, 2)), rng.normal(size=(9, 512, 2))
    assert all(history.append(x)[0] for x in quiet)
    burst = quiet.copy()
    burst[:, 100] += 1
    assert not any(history.append(x)[0] for x in burst)
    assert history.append(quiet[0])[0]
    assert [history.append(x)[0] for x in loud] == [False] * 4 + [True] * 5
    assert not history.has_risen
    assert not history.append(loud[0] + 90 * burst[0])[0]


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


def test_noise_in_a_long_pause_teaches_nothing():
    """Softer speech does, after three seconds like the ones that noise had before."""
    rng = np.random.default_rng(0)
    history = History(2, 512, 500, 31.25)
    noise = rng.normal(size=(300, 512, 2))

    def kept(signal):
        return [history.append(x)[0] for x in signal]

    assert all(kept(100 * noise[:100]))
    in_pause = kept(noise)
    assert all(in_pause[:90])
    assert not any(in_pause[94:])
    assert all(kept(100 * noise[:20]))
    softer = noise * rng.uniform(0.3, 3, size=(300, 1, 1))
    assert all(kept(softer))
    assert kept(noise)[-1]


def test_swapped_sources_are_told(scene, passes):
    """The order of outputs is kept from one update to the next."""
    _, sources = scene
    _, y = passes[1.0]
    orders = [
        tuple(si_sdr(sources[part], y[part], return_permutation=True)[1])
        for part in (slice(2 * RATE, 4 * RATE), slice(5 * RATE, None))
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


def test_known_outputs_are_refined():
    x, sources = mixture(8)
    settings = {"ref_mic": 0, "n_taps": 1200, "n_future": 200, "n_told": 0}
    separator = make_separator(sample_rate=RATE, random_state=0)
    first = learn(separator, x[: 3 * RATE], Known(), RATE, is_thorough=True, **settings)
    now = learn(separator, x, first, RATE, is_thorough=False, **settings)
    assert now.filters is not first.filters
    assert now.n_fft == first.n_fft
    heard = slice(1200 - 1 - 200, len(x) - 200)

    def improvement(known):
        y = filtered(x.T, known.filters).T
        return si_sdr_improvement(sources[heard], y, x[heard], permute=False).mean()

    # In the same order, and better, as more has been heard.
    assert improvement(now) > improvement(first) > 5


def test_filters_stay_while_somebody_is_away():
    params = {"sample_rate": RATE, "return_images": True, "random_state": 0}
    *_, images = make_convolutive_mixture(8 * RATE, **params)
    x, alone = images.sum(0).astype(np.float32), images[0].astype(np.float32)
    settings = {"ref_mic": 0, "n_taps": 1200, "n_future": 200, "n_told": 0}
    separator = make_separator(sample_rate=RATE, random_state=0)
    known = learn(separator, x, Known(), RATE, is_thorough=True, **settings)
    assert known.n_speaking == 2
    # Where that one pauses, noise is as loud in the other's output, and where something
    # loud was left out, as clicks are, that one is.
    alone[: 2 * RATE] = 0
    alone = np.delete(alone, slice(6 * RATE, 6 * RATE + 512), axis=0)
    alone += 0.02 * x.std() * np.random.default_rng(0).normal(size=alone.shape)
    assert learn(separator, alone, known, RATE, is_thorough=True, **settings) is known
