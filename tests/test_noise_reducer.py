"""Noise is learned from quiet frames, and taken out as the equations say."""

# License: BSD-3-Clause

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import ISTFT, STFT, NoiseReducer, Spectrogram, make_separator
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.metrics import si_sdr
from skbss.updates.noise import selection_bias
from tests.degenerate import DEGENERATE, make_outputs, record_of


def noisy(n_sources, n_samples=16_000, level=0.1, seed=0):
    """Return signals, and the same with noise that they have in common, in part."""
    _, sources = make_convolutive_mixture(
        n_samples, n_sources, sample_rate=8000, rt60=0.02, random_state=seed
    )
    rng = np.random.default_rng(seed)
    mixing = np.eye(n_sources) + 0.7
    noise = rng.normal(size=sources.shape) @ mixing
    return sources, sources + level * sources.std() * noise


def spectrogram(signals, n_fft=128):
    return STFT(n_fft, sample_rate=8000).fit_transform(signals)


def reference_noise(X, quiet):
    """Covariances of quiet frames, bin by bin, divided by the mean power."""
    T, F, K = X.shape
    power = (abs(X) ** 2 / (abs(X) ** 2).mean(0)).mean(2)
    noise = np.empty((F, K, K), complex)
    for f in range(F):
        near = power[:, [min(max(f + i, 0), F - 1) for i in range(-2, 3)]].mean(1)
        frames = np.argsort(near)[: int(quiet * T)]
        noise[f] = np.mean([np.outer(X[t, f], X[t, f].conj()) for t in frames], axis=0)
    return noise / selection_bias(quiet, K) / (abs(X) ** 2).mean()


def reference_outputs(X, noise, min_share):
    """The Wiener filter, one matrix after the other."""
    Z, known = X, noise.diagonal(axis1=1, axis2=2).real
    for noise_power in (known, 0):
        near = np.pad(abs(Z) ** 2, ((0, 0), (2, 2), (0, 0)), "edge")
        power = np.mean([near[:, i : i + X.shape[1]] for i in range(5)], axis=0)
        if noise_power is known:
            least = min_share * power
        r = np.maximum(power - noise_power, least)
        Z = np.empty_like(X)
        for t, f in np.ndindex(X.shape[:2]):
            Z[t, f] = r[t, f] * (np.linalg.inv(np.diag(r[t, f]) + noise[f]) @ X[t, f])
    return Z


@pytest.mark.parametrize(
    ("n_sources", "quiet", "min_share"), [(1, 0.1, 0.02), (2, 0.1, 0.1), (3, 0.3, 0.02)]
)
def test_it_is_what_the_equations_say(n_sources, quiet, min_share):
    record = spectrogram(noisy(n_sources, 3000)[1], 64)
    reducer = NoiseReducer(quiet, min_share=min_share)
    Z = reducer.fit_transform(record).data
    expected = reference_noise(record.data, quiet)
    assert_allclose(reducer.noise_, expected, rtol=0, atol=1e-12)
    assert_allclose(reducer.level_, np.sqrt((abs(record.data) ** 2).mean()))
    noise = expected * reducer.level_**2
    outputs = reference_outputs(record.data, noise, min_share)
    # The fast way loads its matrices by 1e-12.
    assert_allclose(Z, outputs, atol=1e-9 * abs(Z).max())


@pytest.mark.parametrize("n_sources", [1, 2, 4])
def test_the_covariance_of_noise_is_found(n_sources):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(n_sources, n_sources)) + 2 * np.eye(n_sources)
    record = spectrogram(rng.normal(size=(200_000, n_sources)) @ mixing.T)
    found = NoiseReducer().fit(record).noise_[5:-5].mean(0).real
    expected = mixing @ mixing.T
    expected *= n_sources / np.trace(expected)  # unit power
    # Independent outputs are assumed; those that are alike give more extreme frames.
    assert_allclose(found, expected, atol=0.25 * n_sources)
    independent = spectrogram(rng.normal(size=(200_000, n_sources)))
    found = NoiseReducer().fit(independent).noise_[5:-5].mean(0)
    assert_allclose(found, np.eye(n_sources), atol=0.05)


@pytest.mark.parametrize("n_sources", [1, 2, 3, 4])
def test_noise_becomes_less(n_sources):
    # The more sources there are, the rarer all of them pause.
    for level in (0.1, 0.3) if n_sources < 3 else (0.3,):
        sources, y = noisy(n_sources, 32_000, level)
        pipeline = make_pipeline(STFT(256), NoiseReducer(), ISTFT())
        z = pipeline.fit_transform(y)
        before, after = si_sdr(sources, y), si_sdr(sources, z)
        assert (after > before + 0.8).all()  # measured: 0.9 and more


def test_little_changes_without_noise():
    sources, _ = noisy(2, 32_000)
    z = make_pipeline(STFT(256), NoiseReducer(), ISTFT()).fit_transform(sources)
    assert si_sdr(sources, z).min() > 20


def test_the_order_of_the_outputs_does_not_matter():
    _, y = noisy(3)
    expected = NoiseReducer().fit_transform(spectrogram(y)).data
    order = [2, 0, 1]
    Z = NoiseReducer().fit_transform(spectrogram(y[:, order])).data
    assert_allclose(Z, expected[..., order], atol=1e-9 * abs(Z).max())


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_the_level_does_not_matter(scale):
    record = spectrogram(noisy(3)[1])
    reducer = NoiseReducer()
    expected = reducer.fit_transform(record).data
    noise = reducer.noise_
    Z = reducer.fit_transform(replace(record, data=record.data * scale)).data
    assert_allclose(reducer.noise_, noise, rtol=0, atol=1e-9)
    assert_allclose(Z / scale, expected, atol=1e-9 * abs(expected).max())


def test_single_precision_is_near_to_double():
    record = spectrogram(noisy(3)[1])
    expected = NoiseReducer().fit_transform(record).data
    for scale in (1e-25, 1, 1e25):
        single = replace(record, data=(scale * record.data).astype(np.complex64))
        Z = NoiseReducer().fit_transform(single).data
        assert Z.dtype == np.complex64
        error = np.linalg.norm(Z / scale - expected) / np.linalg.norm(expected)
        assert error < 1e-5


def test_later_audio_has_the_same_noise():
    record, later = spectrogram(noisy(2)[1]), spectrogram(noisy(2, 5000, seed=1)[1])
    reducer = NoiseReducer().fit(record)
    noise = reducer.noise_ * reducer.level_**2
    expected = reference_outputs(later.data, noise, 0.02)
    for scale in (1, 1e100):  # louder than any noise
        louder = replace(later, data=scale * later.data)
        Z = reducer.transform(louder).data
        if scale == 1:
            assert_allclose(Z, expected, atol=1e-9 * abs(Z).max())
        else:
            assert_allclose(Z, louder.data, rtol=1e-9, atol=1e-9 * abs(Z).max())


def test_few_frames_tell_nothing_of_noise():
    X = make_outputs().data
    for n_frames in (1, 9):
        reducer = NoiseReducer().fit(X[50 : 50 + n_frames])
        assert_array_equal(reducer.noise_, 0)
        assert_allclose(reducer.transform(X), X, rtol=1e-9)
    assert NoiseReducer().fit(X[:10]).noise_.any()


def test_the_record_goes_on_without_mixing_matrices():
    record = record_of(make_outputs().data)
    Z = NoiseReducer().fit_transform(record)
    assert isinstance(Z, Spectrogram)
    assert Z.mixing is None
    assert Z.stft_params == record.stft_params
    assert Z.n_samples == record.n_samples
    assert isinstance(NoiseReducer().fit_transform(record.data), np.ndarray)


def test_threads_do_not_change_a_bit():
    record = spectrogram(noisy(3)[1], 512)
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            reducer = NoiseReducer().fit(record)
            results.append((reducer.noise_, reducer.transform(record).data))
    for noise, Z in results[1:]:
        assert_array_equal(noise, results[0][0])
        assert_array_equal(Z, results[0][1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_outputs(case, dtype):
    if "150" in case and dtype == np.complex64:
        return
    record = record_of(DEGENERATE[case].astype(dtype))
    reducer = NoiseReducer().fit(record)
    assert np.isfinite(reducer.noise_).all()
    for Z in (
        reducer.transform(record).data,
        reducer.transform(record.data[:1]),
        reducer.transform(0 * record.data),
    ):
        assert np.isfinite(Z).all()
        assert Z.dtype == dtype
        assert abs(Z).max() <= 2 * record.shape[2] * abs(record.data).max()
    silent = reducer.transform(record.data)[record.data == 0]
    assert_array_equal(silent, 0)


def test_memory(rng):
    shape = (1500, 513, 3)
    X = (rng.normal(size=(*shape, 2)) @ [1, 1j]).astype(np.complex64)
    NoiseReducer().fit_transform(X[:30])  # loads what is loaded once
    tracemalloc.start()
    with threadpool_limits(1):  # each thread has a block of its own
        NoiseReducer().fit_transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * X.nbytes


def test_refusals():
    record = make_outputs()
    with pytest.raises(NotFittedError):
        NoiseReducer().transform(record)
    reducer = NoiseReducer().fit(record)
    with pytest.raises(ValueError, match="3 features, but NoiseReducer is expe"):
        reducer.transform(make_outputs(3))
    with pytest.raises(ValueError, match="fitted on 17"):
        reducer.transform(record.data[:, 1:])
    with pytest.raises(ValueError, match="complex"):
        reducer.fit(abs(record.data))
    for params in ({"quiet": 0.0}, {"quiet": 1.0}, {"min_share": 0.0}):
        with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
            NoiseReducer(**params).fit(record)


@pytest.mark.parametrize(
    ("method", "n_sources"),
    [("auxiva", 2), ("ilrma", None), ("refined", None), ("refined", 2)],
)
def test_the_last_stage_of_a_separator(method, n_sources):
    x, _ = make_convolutive_mixture(4000, 2, n_mics=3, sample_rate=8000)
    params = {"n_sources": n_sources, "sample_rate": 8000, "random_state": 0}
    plain = make_separator(method, **params)
    pipeline = make_separator(method, denoise=True, **params)
    names = [name for name, _ in plain.steps]
    assert [name for name, _ in pipeline.steps] == [
        *names[:-1],
        "denoise",
        "loudestfirst",
    ]
    stft = pipeline["denoise"]["stft"]
    assert (stft.n_fft, stft.hop_length) == (1024, None)
    z = pipeline.fit_transform(x)
    assert z.shape == (len(x), n_sources or 3)
    power = (z**2).mean(0)
    assert_array_equal(power, np.sort(power)[::-1])


def test_a_noisy_recording_gains(rng):
    recording = load_cocktail_party()
    x = recording.mixture
    x = x + 0.1 * x.std() * rng.normal(size=x.shape)
    rate = recording.sample_rate
    y, z = (
        make_separator("auxiva", sample_rate=rate, denoise=denoise).fit_transform(x)
        for denoise in (False, True)
    )
    before, after = (si_sdr(recording.references, signals) for signals in (y, z))
    assert (after > before + 0.8).all()  # measured: 1.2 dB
