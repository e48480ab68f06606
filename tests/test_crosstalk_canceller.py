"""Leaks are learned as the equations say, taken out and given back."""

# License: BSD-3-Clause

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import ISTFT, STFT, CrosstalkCanceller, Spectrogram, make_separator
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.metrics import si_sdr
from skbss.updates import Cliques
from tests.degenerate import DEGENERATE, make_outputs, record_of


def leaky(n_sources, n_samples=8000, seed=0):
    """Return signals that leak into each other more than a window later."""
    _, sources = make_convolutive_mixture(
        n_samples, n_sources, sample_rate=8000, rt60=0.02, random_state=seed
    )
    rng = np.random.default_rng(seed)
    leaks = rng.uniform(0.1, 0.4, size=(n_sources, n_sources))
    np.fill_diagonal(leaks, 0)
    later = np.roll(sources, 150, axis=0)
    return sources, sources + later @ leaks - later * leaks.sum(1)


def spectrogram(signals, n_fft=128):
    return STFT(n_fft, sample_rate=8000).fit_transform(signals)


def reference_filters(X, lags, ridge, n_bands):
    """Each output's own least squares, from the equations."""
    T, F, K = X.shape
    level = np.sqrt((abs(X) ** 2).mean(0))
    power = abs(X / level) ** 2
    size = max(1, F // n_bands)
    bands = [slice(start, start + size) for start in range(0, F, size)]
    p = np.array([power[:, band].mean(1) for band in bands])  # bands, frames, outputs
    p = np.maximum(p, 1e-10).transpose(2, 0, 1)
    variance = Cliques(n_bands=n_bands).variance(np.ascontiguousarray(p))
    variance = np.maximum(variance, 1e-8 * variance.mean(2, keepdims=True))
    filters = np.zeros((F, K, K, len(lags)), complex)
    for f in range(F):
        for k in range(K):
            r = variance[k, f // size] * level[f, k] ** 2
            regressors, prior = [], []
            for j in range(K):
                for lag, penalty in zip(lags, ridge, strict=True):
                    if j != k:
                        past = [
                            X[t - lag, f, j] if 0 <= t - lag < T else 0
                            for t in range(T)
                        ]
                        regressors.append(past)
                        prior.append(penalty)
            # Rows of a least squares problem: frames, then the prior.
            rows = np.array(regressors).T / np.sqrt(T * r)[:, None]
            rows = np.concatenate([rows, np.diag(np.sqrt(prior))])
            y = np.concatenate([X[:, f, k] / np.sqrt(T * r), np.zeros(len(prior))])
            c = np.linalg.lstsq(rows, y)[0].reshape(K - 1, -1)
            filters[f, k, [j for j in range(K) if j != k]] = c
    return filters


def reference_outputs(X, filters, lags):
    """Take leaks out and give them back, frame by frame."""
    T, _, K = X.shape

    def leaks(Z):
        out = np.zeros((T, X.shape[1], K, K), complex)  # into, from
        for i, lag in enumerate(lags):
            for t in range(T):
                if 0 <= t - lag < T:
                    out[t] += filters[..., i] * Z[t - lag, :, None]
        return out

    clean = X - leaks(X).sum(3)
    moved = leaks(clean)
    return X - moved.sum(3) + moved.sum(2)


@pytest.mark.parametrize(
    ("n_sources", "n_past", "n_future", "n_bands"),
    [(2, 4, 1, 512), (3, 2, 2, 10), (4, 1, 0, 512), (2, 0, 0, 7), (2, 0, 3, 512)],
)
def test_it_is_what_the_equations_say(n_sources, n_past, n_future, n_bands):
    _, y = leaky(n_sources, 1500)
    record = spectrogram(y, 64)
    canceller = CrosstalkCanceller(
        n_past, n_future=n_future, decay=0.7, prior=0.2, n_bands=n_bands
    )
    Y = canceller.fit_transform(record)
    lags = np.arange(-n_future, n_past + 1)
    assert_array_equal(canceller.lags_, lags)
    ridge = 1 / (0.2 * 2 * 1500 / 64 * 0.7 ** abs(lags))
    expected = reference_filters(record.data, lags, ridge, n_bands)
    # The fast way loads its equations by 1e-12, and sums squares.
    assert_allclose(canceller.filters_, expected, rtol=0, atol=1e-6)
    outputs = reference_outputs(record.data, canceller.filters_, lags)
    assert_allclose(Y.data, outputs, atol=1e-12)


@pytest.mark.parametrize("n_sources", [2, 3, 4])
def test_leaks_become_less(n_sources):
    sources, y = leaky(n_sources, 32_000)
    pipeline = make_pipeline(STFT(256), CrosstalkCanceller(), ISTFT())
    z = pipeline.fit_transform(y)
    before, after = si_sdr(sources, y).mean(), si_sdr(sources, z).mean()
    assert after > before + 2


def test_a_separated_recording_gains():
    recording = load_cocktail_party()
    rate = recording.sample_rate
    pipeline = make_separator("auxiva", sample_rate=rate)
    y = pipeline.fit_transform(recording.mixture)
    steps = STFT(2048, hop_length=1024), CrosstalkCanceller(), ISTFT()
    z = make_pipeline(*steps).fit_transform(y)
    before, after = (si_sdr(recording.references, signals) for signals in (y, z))
    assert (after > before).all()
    assert_allclose(z.sum(1), y.sum(1), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
def test_outputs_sum_to_what_they_summed_to(n_sources, dtype):
    record = make_outputs(n_sources)
    X = record.data.astype(dtype)
    Y = CrosstalkCanceller().fit_transform(X)
    assert Y.dtype == dtype
    tolerance = 100 * np.finfo(dtype).eps * abs(X).max()
    assert_allclose(Y.sum(2), X.sum(2), rtol=0, atol=tolerance)
    if n_sources == 1:
        assert_array_equal(Y, X)
    else:
        assert abs(Y - X).max() > 1e-3 * abs(X).max()


def test_the_order_of_the_outputs_does_not_matter():
    _, y = leaky(3)
    expected = CrosstalkCanceller().fit_transform(spectrogram(y)).data
    order = [2, 0, 1]
    Y = CrosstalkCanceller().fit_transform(spectrogram(y[:, order])).data
    assert_allclose(Y, expected[..., order], atol=1e-9 * abs(Y).max())


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_the_level_does_not_matter(scale):
    record = spectrogram(leaky(3)[1])
    canceller = CrosstalkCanceller().fit(record)
    other = CrosstalkCanceller().fit(replace(record, data=record.data * scale))
    assert_allclose(other.filters_, canceller.filters_, rtol=0, atol=1e-9)


def test_single_precision_is_near_to_double():
    record = spectrogram(leaky(3)[1])
    expected = CrosstalkCanceller().fit_transform(record).data
    for scale in (1e-25, 1, 1e25):
        single = replace(record, data=(scale * record.data).astype(np.complex64))
        Y = CrosstalkCanceller().fit_transform(single).data
        assert Y.dtype == np.complex64
        error = np.linalg.norm(Y / scale - expected) / np.linalg.norm(expected)
        assert error < 1e-4  # single precision, in sums of some hundred frames


def test_later_audio_is_filtered_alike():
    _, y = leaky(2)
    _, later = leaky(2, 5000, seed=0)
    record, after = spectrogram(y), spectrogram(later)
    canceller = CrosstalkCanceller(3, n_future=2).fit(record)
    Y = canceller.transform(after)
    expected = reference_outputs(after.data, canceller.filters_, canceller.lags_)
    assert_allclose(Y.data, expected, atol=1e-12)
    assert_allclose(Y.data.sum(2), after.data.sum(2), atol=1e-12)


def test_the_record_goes_on_without_mixing_matrices():
    record = record_of(make_outputs().data)
    Y = CrosstalkCanceller().fit_transform(record)
    assert isinstance(Y, Spectrogram)
    assert Y.mixing is None
    assert Y.stft_params == record.stft_params
    assert Y.n_samples == record.n_samples
    array = CrosstalkCanceller().fit_transform(record.data)
    assert isinstance(array, np.ndarray)


def test_threads_do_not_change_a_bit():
    record = spectrogram(leaky(3)[1], 512)
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            canceller = CrosstalkCanceller().fit(record)
            results.append((canceller.filters_, canceller.transform(record).data))
    for filters, Y in results[1:]:
        assert_array_equal(filters, results[0][0])
        assert_array_equal(Y, results[0][1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_outputs(case, dtype):
    if "150" in case and dtype == np.complex64:
        return
    record = record_of(DEGENERATE[case].astype(dtype))
    canceller = CrosstalkCanceller(5, n_future=2).fit(record)
    Y = canceller.transform(record).data
    assert np.isfinite(canceller.filters_).all()
    assert np.isfinite(Y).all()
    assert Y.dtype == dtype
    scale = abs(record.data).max()
    tolerance = 1e3 * np.finfo(dtype).eps * scale
    assert_allclose(Y.sum(2), record.data.sum(2), rtol=0, atol=tolerance)
    # Nothing gets louder than all outputs together.
    assert abs(Y).max() <= 2 * record.shape[2] * scale


@pytest.mark.filterwarnings("error")
def test_silence_stays_silent():
    X = make_outputs().data
    silence = np.zeros_like(X[:40])
    Y = CrosstalkCanceller(4, n_future=1).fit_transform(
        np.concatenate([silence, X, silence])
    )
    # Leaks reach as far as the filters do, twice.
    assert_array_equal(Y[:38], 0)
    assert_array_equal(Y[-32:], 0)
    silent = X * [1, 0]
    assert_allclose(CrosstalkCanceller().fit_transform(silent), silent)


def test_memory(rng):
    shape = (1500, 513, 3)
    X = (rng.normal(size=(*shape, 2)) @ [1, 1j]).astype(np.complex64)
    CrosstalkCanceller().fit_transform(X[:9])  # loads what is loaded once
    tracemalloc.start()
    CrosstalkCanceller().fit_transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * X.nbytes


def test_refusals():
    record = make_outputs()
    with pytest.raises(NotFittedError):
        CrosstalkCanceller().transform(record)
    canceller = CrosstalkCanceller().fit(record)
    with pytest.raises(ValueError, match="3 features, but CrosstalkCanceller is expe"):
        canceller.transform(make_outputs(3))
    with pytest.raises(ValueError, match="fitted on 17"):
        canceller.transform(record.data[:, 1:])
    with pytest.raises(ValueError, match="complex"):
        canceller.fit(abs(record.data))
    for params in ({"n_past": -1}, {"decay": 0.0}, {"prior": 0.0}, {"n_bands": 0}):
        with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
            CrosstalkCanceller(**params).fit(record)
