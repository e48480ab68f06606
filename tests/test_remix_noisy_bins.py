"""Bins full of noise are separated by when the voices are loud in others."""

# License: BSD-3-Clause

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from skbss import RemixNoisyBins, Spectrogram, make_separator
from skbss.datasets import load_cocktail_party
from skbss.updates.noise import quiet_covariance
from skbss.updates.noisy_bins import MAX_ITER
from tests.degenerate import DEGENERATE, make_outputs, record_of

N_MIXED = 4


def noisy(n_sources, noise=0.3, n_frames=400, n_freqs=60, seed=0):
    """Outputs that are well sorted but in a few bins, and the voices in them."""
    rng = np.random.default_rng(seed)
    shape = n_frames, n_freqs, n_sources
    voices, hiss = rng.normal(size=(2, *shape, 2)) @ [1, 1j]
    voices *= rng.gamma(0.3, size=(n_frames, 1, n_sources))
    X = voices + noise * hiss
    share = np.full((n_sources, n_sources), 0.1)  # of every voice, most in the first
    share[:, 0] = 1 - 0.1 * (n_sources - 1) - 0.05 * np.arange(n_sources)
    share[1:, 1:] += 0.05 * np.eye(n_sources - 1)
    X[:, :N_MIXED] = X[:, :N_MIXED] @ share
    return record_of(X), voices


def likeness(Y, voices, f):
    """Correlation of voices (rows) with outputs of a bin."""
    K = Y.shape[2]
    return abs(np.corrcoef(voices[:, f].T, Y[:, f].T)[:K, K:])


def reference_remixing(X, noise, share, bins):
    """The EM algorithm with a covariance for every frame, bin by bin."""
    _, F, K = X.shape
    powers = np.pad(abs(X) ** 2, ((0, 0), (2, 2), (0, 0)), "edge")
    powers = np.mean([powers[:, i : i + F] for i in range(5)], axis=0)
    own = noise.diagonal(axis1=1, axis2=2).real
    powers = np.maximum(powers - own, 0.02 * powers)
    loud = ((powers / powers.mean(0)) * ((1 - share) ** 2)[:, None]).sum(1)
    loud += 1e-3 * loud.mean(0)
    loud /= loud.mean(0)
    remixing = np.tile(np.eye(K, dtype=complex), (F, 1, 1))
    for f in bins:
        size = (abs(X[:, f]) ** 2).mean()
        y, power = X[:, f] / np.sqrt(size), powers[:, f] / size
        N = noise[f] / size + 1e-6 * np.eye(K)
        x, n = y.sum(1), N.sum().real
        g = np.full(K, (abs(x) ** 2).mean() / K)
        for _ in range(30):
            model = loud @ g + n
            g = g * (loud.T @ (abs(x) ** 2 / model**2)) / (loud.T @ (1 / model))
        masks = g * loud / ((g * loud).sum(1) + n)[:, None]
        rest = np.diag((masks * (1 - masks) * abs(x[:, None]) ** 2).sum(0))
        starts = [(np.eye(K), power.mean(0)), (mixing(y, masks * x[:, None], rest), g)]
        ends = [expectation_maximization(y, N, loud, *s) for s in starts]
        (_, before), (A, after) = ends
        if after > before:
            remixing[f] = A.sum(0)[:, None] * np.linalg.inv(A)
    return remixing


def mixing(y, s, rest):
    C = s.T @ s.conj() + rest
    C += 1e-6 * np.trace(C).real * np.eye(len(C))
    return (y.T @ s.conj()) @ np.linalg.inv(C)


def expectation_maximization(y, N, loud, A, g):
    for _ in range(MAX_ITER):
        s, power = np.empty_like(y), np.empty(y.shape)
        rest, likelihood = 0, 0.0
        for t in range(len(y)):
            R = np.diag(g * loud[t])
            C = A @ R @ A.conj().T + N
            gain = R @ A.conj().T @ np.linalg.inv(C)
            s[t] = gain @ y[t]
            error = R - gain @ A @ R
            rest = rest + error
            power[t] = abs(s[t]) ** 2 + error.diagonal().real
            form = (y[t].conj() @ np.linalg.solve(C, y[t])).real
            likelihood -= form + np.linalg.slogdet(C)[1]
        g = (power / loud).mean(0)
        A = mixing(y, s, rest)
        size = np.linalg.norm(A, axis=0)
        A, g = A / size, g * size**2
    return A, likelihood


@pytest.mark.parametrize("n_sources", [2, 3])
def test_it_is_what_the_equations_say(n_sources):
    record, _ = noisy(n_sources, n_frames=60, n_freqs=24)
    remix = RemixNoisyBins(4000).fit(record)
    scale = np.sqrt((abs(record.data) ** 2).mean())
    noise = quiet_covariance(record.data, scale, 0.1)
    frequency = np.linspace(0, record.stft_params["sample_rate"] / 2, 24)
    bins = np.flatnonzero((remix.noise_share_ > 0.3) & (frequency <= 4000))
    expected = reference_remixing(record.data / scale, noise, remix.noise_share_, bins)
    n_taken = (expected != np.eye(n_sources)).any((1, 2)).sum()
    assert 3 <= n_taken < len(bins)
    # Rounding grows with the condition of the mixing matrices, and with iterations.
    assert_allclose(remix.remixing_, expected, rtol=0, atol=1e-5)


def test_share_of_noise():
    record, _ = noisy(2, noise=0.1)
    remix = RemixNoisyBins().fit(record)
    X = record.data
    noise = quiet_covariance(X, 1.0, 0.1)
    for f in (2, 30):
        C = X[:, f].T @ X[:, f].conj() / len(X)
        share = np.linalg.eigvals(np.linalg.inv(C) @ noise[f]).real.max()
        # Covariances are loaded by a millionth of their power.
        assert_allclose(remix.noise_share_[f], min(share, 1), rtol=1e-3)


@pytest.mark.parametrize("n_sources", [2, 3])
def test_voices_of_noisy_bins_are_told_apart(n_sources):
    record, voices = noisy(n_sources)
    Y = RemixNoisyBins().fit_transform(record).data
    for f in range(N_MIXED):
        before, after = (likeness(Z, voices, f) for Z in (record.data, Y))
        others = ~np.eye(n_sources, dtype=bool)
        assert after[others].max() < 0.35 < before[others].max()
        assert after.diagonal().min() > before.diagonal().min()
    high = np.linspace(0, record.stft_params["sample_rate"] / 2, 60) > 1000
    assert_array_equal(Y[:, high], record.data[:, high])


def test_outputs_sum_to_what_they_summed_to():
    record, _ = noisy(3)
    Y = RemixNoisyBins().fit_transform(record).data
    assert (record.data != Y).any()
    assert_allclose(Y.sum(2), record.data.sum(2), atol=1e-9 * abs(Y).max())


def test_nothing_changes_without_noise():
    record, _ = noisy(2, noise=1e-3)
    assert RemixNoisyBins().fit_transform(record) is record


@pytest.mark.parametrize("noise", [0, 0.5])
def test_a_step_of_the_default_where_there_is_noise(noise):
    recording = load_cocktail_party()
    rng = np.random.default_rng(0)
    x = recording.mixture[:80_000]
    x = x + noise * x.std() * rng.normal(size=x.shape)
    pipeline = make_separator(sample_rate=recording.sample_rate, random_state=0)
    first = pipeline["first"].fit(x)
    assert list(first.named_steps)[-3:] == ["sort", "remix", "istft"]
    remixing = first["remix"].remixing_
    n_changed = (remixing != np.eye(2)).any((1, 2)).sum()
    # Without noise few bins have nothing but noise in one direction: four.
    assert n_changed > 20 if noise else n_changed < 10


def test_order_and_level_do_not_matter():
    record, _ = noisy(3)
    Y = RemixNoisyBins().fit_transform(record).data
    order = [2, 0, 1]
    other = replace(record, data=record.data[..., order])
    Z = RemixNoisyBins().fit_transform(other).data
    assert_allclose(Z, Y[..., order], atol=1e-6 * abs(Y).max())
    for scale in (1e-150, 1e-8, 1e8, 1e150):
        other = replace(record, data=scale * record.data)
        Z = RemixNoisyBins().fit_transform(other).data
        assert_allclose(Z / scale, Y, atol=1e-6 * abs(Y).max())


def test_single_precision_is_near_to_double():
    record, _ = noisy(2)
    Y = RemixNoisyBins().fit_transform(record).data
    single = replace(record, data=record.data.astype(np.complex64))
    Z = RemixNoisyBins().fit_transform(single).data
    assert Z.dtype == np.complex64
    assert np.linalg.norm(Z - Y) < 1e-4 * np.linalg.norm(Y)


def test_mixing_matrices_follow():
    record, _ = noisy(2)
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(1, 60, 3, 2)) + 0j
    Y = RemixNoisyBins().fit_transform(replace(record, mixing=mixing))
    assert isinstance(Y, Spectrogram)
    before = mixing[0] @ record.data[..., None]
    assert_allclose(Y.mixing[0] @ Y.data[..., None], before, atol=1e-9)


def test_later_audio_is_remixed_alike():
    record, _ = noisy(2)
    remix = RemixNoisyBins().fit(record)
    later, _ = noisy(2, n_frames=30, seed=1)
    expected = np.einsum("fkj,tfj->tfk", remix.remixing_, later.data)
    assert_allclose(remix.transform(later).data, expected, atol=1e-12)
    assert_allclose(remix.transform(later.data), expected, atol=1e-12)


def test_threads_do_not_change_a_bit():
    record, _ = noisy(3)
    results = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            results.append(RemixNoisyBins().fit(record).remixing_)
    assert_array_equal(results[1], results[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_outputs(case, dtype):
    if "150" in case and dtype == np.complex64:
        return
    record = record_of(DEGENERATE[case].astype(dtype))
    remix = RemixNoisyBins(8000, min_share=0).fit(record)
    assert np.isfinite(remix.remixing_).all()
    assert np.isfinite(remix.noise_share_).all()
    Y = remix.transform(record).data
    assert np.isfinite(Y).all()
    assert Y.dtype == dtype
    limit = 1e-4 if dtype == np.complex64 else 1e-9
    assert_allclose(Y.sum(2), record.data.sum(2), atol=limit * abs(Y).max())


def test_refusals():
    record = make_outputs()
    with pytest.raises(NotFittedError):
        RemixNoisyBins().transform(record)
    remix = RemixNoisyBins().fit(record)
    with pytest.raises(ValueError, match="3 features, but RemixNoisyBins is expec"):
        remix.transform(make_outputs(3))
    for params in ({"max_frequency": -1.0}, {"min_share": 2}):
        with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
            RemixNoisyBins(**params).fit(record)


@pytest.mark.parametrize("n_sources", [2, 3])
def test_outputs_that_cancel_each_other_do_so_no_more(n_sources):
    rng = np.random.default_rng(0)
    shape = 300, 40, n_sources
    voices = rng.normal(size=(*shape, 2)) @ [1, 1j]
    voices *= rng.gamma(0.3, size=(300, 1, n_sources))
    canceling = rng.normal(size=(*shape, 2)) @ [1, 1j]
    canceling -= canceling.mean(2, keepdims=True)
    X = voices.copy()
    X[:, :5] += 9 * canceling[:, :5]
    remix = RemixNoisyBins(min_share=1)
    Y = remix.fit_transform(record_of(X)).data
    assert_allclose(Y.sum(2), X.sum(2), atol=1e-8)
    assert_array_equal(Y[:, 5:], X[:, 5:])
    for f in range(5):
        y = X[:, f].T
        C = y @ y.conj().T / 300
        C += 1e-6 * np.trace(C).real * np.eye(n_sources)
        x = y.sum(0)
        p = np.maximum((y @ x.conj()).real, 0.02 * (abs(x) ** 2).sum()) / 300
        best = np.diag(p) @ np.linalg.inv(C) @ y
        best += (x - best.sum(0)) / n_sources
        assert_allclose(Y[:, f].T, best, atol=1e-4)
        left, before = (abs(Z[:, f] - voices[:, f]).mean() for Z in (Y, X))
        assert left < 0.4 * before


def test_outputs_that_are_nothing_together_are_left_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 20, 1, 2)) @ [1, 1j] * [1, -1]
    assert_array_equal(RemixNoisyBins().fit_transform(record_of(X)).data, X)
