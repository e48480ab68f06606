import tracemalloc
from dataclasses import replace

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import Spectrogram
from skbss.transforms import (
    ISTFT,
    STFT,
    ProjectionBack,
    normalized_mixing,
    projection_back,
    projection_back_lstsq,
)

T, F, M = 30, 9, 3
METHODS = ["inverse", "least_squares"]


@parametrize_with_checks([ProjectionBack()])
def test_common_checks(estimator, check):
    check(estimator)


def cnormal(*shape, seed=0, dtype=np.complex128):
    return (np.random.default_rng(seed).normal(size=(*shape, 2)) @ [1, 1j]).astype(
        dtype
    )


def demix(X, W):
    return (W @ X[..., None])[..., 0]


def separated(per_frame=False, dtype=np.complex128):
    """Microphones, demixing matrices and a record as separators return it."""
    X = cnormal(T, F, M, dtype=dtype)
    W = cnormal(*([T] if per_frame else []), F, M, M, seed=1, dtype=dtype)
    mixing = np.linalg.inv(W)
    params = {"n_fft": 16, "hop_length": 4, "window": "hann", "sample_rate": None}
    record = Spectrogram(
        demix(X, W), params, n_samples=100, mixing=mixing if per_frame else mixing[None]
    )
    return X, W, record


def tolerance(dtype):
    # Some roundings, raised by the condition of the worst of the random matrices: 60
    # for the 9 common ones, 500 for the 270 of each frame.
    return 2e3 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("ref_mic", range(M))
def test_outputs_sum_to_the_reference(ref_mic, per_frame, dtype):
    X, W, record = separated(per_frame, dtype)
    of_record = ProjectionBack(ref_mic).fit_transform(record)
    of_array = projection_back(record.data, W, ref_mic=ref_mic)
    tol = tolerance(dtype)
    for Y in (of_record.data, of_array):
        assert Y.dtype == dtype
        assert_allclose(Y.sum(axis=2), X[..., ref_mic], rtol=0, atol=tol)
    assert_allclose(of_record.data, of_array, rtol=tol, atol=tol)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_record_keeps_its_invariants(method, per_frame, dtype):
    X, _, record = separated(per_frame, dtype)
    scaled = ProjectionBack(1, method=method).fit_transform(record)
    assert scaled.data.dtype == scaled.mixing.dtype == dtype
    assert scaled.mixing.shape == record.mixing.shape
    assert scaled.stft_params == record.stft_params
    assert scaled.n_samples == record.n_samples
    # mixing @ data still gives the microphones
    assert_allclose(demix(scaled.data, scaled.mixing), X, rtol=0, atol=tolerance(dtype))
    if method == "inverse":
        assert_allclose(scaled.mixing[:, :, 1], 1, rtol=1e-6)  # single precision


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("singular", [False, True])
def test_row_scales_do_not_matter(singular, per_frame, dtype):
    X, W, _ = separated(per_frame, dtype)
    rng = np.random.default_rng(2)
    levels = rng.choice([1e-8, 1e-3, 1, 1e8], size=W.shape[:-1])
    phases = rng.uniform(0, 2 * np.pi, size=W.shape[:-1])
    if singular:
        W[..., 2, :] = W[..., 1, :]
        # Rounding must not make the equal rows independent
        levels = 2.0 ** np.round(np.log2(levels))
        phases[..., 2] = phases[..., 1]
    V = (levels * np.exp(1j * phases)).astype(dtype)[..., None] * W
    for expected, actual in [
        (
            projection_back(demix(X, W), W, ref_mic=1),
            projection_back(demix(X, V), V, ref_mic=1),
        ),
        (normalized_mixing(W, ref_mic=1), normalized_mixing(V, ref_mic=1)),
    ]:
        atol = tolerance(dtype) * abs(expected).max()
        assert_allclose(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_record_scales_do_not_matter(method):
    _, _, record = separated()
    d = 10.0 ** np.array([-8, 0, 8]) * np.exp(1j * np.arange(F)[:, None])
    other = replace(
        record, data=record.data * d, mixing=record.mixing / d[None, :, None]
    )
    step = ProjectionBack(method=method)
    expected, scaled = step.fit_transform(record), step.fit_transform(other)
    assert_allclose(scaled.data, expected.data, rtol=1e-12)  # rounding
    assert_allclose(scaled.mixing, expected.mixing, rtol=1e-12)


def test_least_squares_is_numpys():
    X, _, record = separated()
    expected = np.empty_like(record.data)
    for f in range(F):
        for k in range(M):
            y = record.data[:, f, k]
            c = np.linalg.lstsq(y[:, None], X[:, f, 2])[0][0]
            expected[:, f, k] = c * y
    # The record's reference comes from mixing @ data: rounding times the condition.
    scaled = ProjectionBack(2, method="least_squares").fit_transform(record)
    assert_allclose(scaled.data, expected, rtol=1e-12)
    assert_allclose(projection_back_lstsq(record.data, X[..., 2]), expected, rtol=1e-12)


def test_least_squares_of_matrices_per_frame():
    X, _, record = separated(per_frame=True)
    scaled = ProjectionBack(method="least_squares").fit_transform(record)
    expected = projection_back_lstsq(record.data, X[..., 0])
    assert_allclose(scaled.data, expected, rtol=0, atol=tolerance(X.dtype))


def test_least_squares_of_tiny_sources():
    X = cnormal(T, F, dtype=np.complex64)
    # Squares of these numbers underflow in single precision, and that is no silence
    tiny = (1e-25 * X).astype(np.complex64)
    Y = projection_back_lstsq(tiny[..., None], X)
    assert_allclose(Y[..., 0], X, rtol=1e-5)  # single precision
    # Squares of these underflow in double precision
    Y = projection_back_lstsq(1e-160 * cnormal(T, F, 2), X)
    assert_array_equal(Y, 0)


def test_fewer_sources_than_microphones():
    mixing, S = cnormal(F, M, 2, seed=1), cnormal(T, F, 2)
    X = demix(S, mixing)
    W = np.linalg.pinv(mixing)
    # These matrices would do, those that a background has a part in would not.
    message = r"of 2 sources from 3 microphones.* mixing_"
    with pytest.raises(ValueError, match=message):
        projection_back(demix(X, W), W)
    with pytest.raises(ValueError, match=message):
        normalized_mixing(W)


def test_normalized_mixing_of_known_mixing():
    mixing = cnormal(T, F, M, M)
    expected = mixing / mixing[:, :, 1:2]
    W = np.linalg.inv(mixing)
    assert_allclose(normalized_mixing(W, 1), expected, rtol=1e-9)  # worst condition
    assert_allclose(normalized_mixing(W[0], 1), expected[0], rtol=1e-9)
    assert normalized_mixing(W.astype(np.complex64)).dtype == np.complex64


def degenerate(dtype):
    """A demixing matrix a bin, most of them bad ones."""
    W = cnormal(F, M, M, seed=3, dtype=dtype)
    W[0] = 0
    W[1] = np.eye(M)  # no output but the first reaches microphone 0
    W[2, 1] = 0
    W[3, 1] = W[3, 0]
    W[4] = 1
    W[5] *= 1e-30
    W[6, :, 1] = 0  # dead microphone
    W[7, 1] = np.finfo(dtype).tiny / 8  # subnormal
    return W


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("per_frame", [False, True])
def test_degenerate_matrices_give_finite_results(per_frame, dtype):
    X = cnormal(T, F, M, dtype=dtype)
    W = degenerate(dtype)
    if per_frame:
        W = np.tile(W, (T, 1, 1, 1))
    Y = projection_back(demix(X, W), W)
    assert Y.dtype == dtype
    assert np.isfinite(Y).all()
    assert_array_equal(Y[:, 0], 0)
    assert_array_equal(Y[:, 1, 1:], 0)
    assert_allclose(Y[:, 1, 0], X[:, 1, 0])
    # where the demixing is good, at whatever level, the outputs still add up
    tol = tolerance(dtype)
    assert_allclose(Y[:, [5, 8]].sum(axis=2), X[:, [5, 8], 0], rtol=0, atol=tol)
    A = normalized_mixing(W)
    assert A.dtype == dtype
    assert np.isfinite(A).all()
    assert_array_equal(A[..., 0, :, :], 0)
    assert_array_equal(A[..., 1, :, 1:], 0)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("method", METHODS)
def test_dead_sources_give_finite_results(method, dtype):
    _, _, record = separated(dtype=dtype)
    data, mixing = record.data.copy(), record.mixing.copy()
    data[:, 0] = 0
    data[:, 1, 1] = 0
    data[:, 2, 1] = np.finfo(dtype).tiny / 8  # subnormal
    mixing[:, 3] = 0
    mixing[:, 4, :, 1] = 0
    mixing[:, 5, 0] = 0
    mixing[:, 6, 0, 1] = np.finfo(dtype).tiny / 8
    broken = replace(record, data=data, mixing=mixing)
    scaled = ProjectionBack(method=method).fit_transform(broken)
    assert np.isfinite(scaled.data).all()
    assert np.isfinite(scaled.mixing).all()
    assert_array_equal(scaled.data[:, [0, 3, 5]], 0)
    assert_array_equal(scaled.data[:, 1, 1], 0)
    # the other bins don't notice
    expected = ProjectionBack(method=method).fit_transform(record)
    assert_array_equal(scaled.data[:, 7:], expected.data[:, 7:])
    assert_array_equal(scaled.mixing[:, 7:], expected.mixing[:, 7:])


@given(
    seed=st.integers(0, 2**32 - 1),
    n_sources=st.integers(1, 4),
    n_mics=st.integers(1, 4),
    rank=st.integers(0, 4),
    exponent=st.integers(0, 37),
    dtype=st.sampled_from([np.complex64, np.complex128]),
)
@settings(max_examples=200, deadline=None)
def test_any_matrices_give_finite_results(
    seed, n_sources, n_mics, rank, exponent, dtype
):
    rng = np.random.default_rng(seed)
    n_sources = max(n_sources, n_mics)
    W = cnormal(F, n_sources, rank, seed=rng) @ cnormal(F, rank, n_mics, seed=rng)
    W *= 10.0 ** rng.uniform(-exponent, exponent, size=(F, n_sources, 1))
    W = W.astype(dtype)
    W[~np.isfinite(W)] = 0
    X = cnormal(T, F, n_mics, seed=rng, dtype=dtype) / 100
    Y = projection_back(demix(X, W), W, ref_mic=n_mics - 1)
    assert np.isfinite(Y).all()
    assert np.isfinite(normalized_mixing(W, ref_mic=n_mics - 1)).all()


@pytest.mark.parametrize("ref_mic", [3, 7])
def test_refuses_microphones_that_are_not_there(ref_mic):
    _, W, record = separated()
    message = rf"^Got ref_mic={ref_mic}, but the recording has 3 microphones\.$"
    for method in (ProjectionBack(ref_mic).fit, ProjectionBack(ref_mic).transform):
        with pytest.raises(ValueError, match=message):
            method(record)
    with pytest.raises(ValueError, match=message):
        projection_back(record.data, W, ref_mic=ref_mic)
    with pytest.raises(ValueError, match=message):
        normalized_mixing(W, ref_mic)


def test_refuses_negative_microphones():
    _, W, record = separated()
    with pytest.raises(ValueError, match="'ref_mic' parameter"):
        ProjectionBack(-1).fit(record)
    for function in (
        lambda: ProjectionBack(-1).transform(record),
        lambda: projection_back(record.data, W, ref_mic=-1),
        lambda: normalized_mixing(W, -1),
    ):
        with pytest.raises(ValueError, match="Got ref_mic=-1"):
            function()


def test_refuses_what_lost_its_context():
    _, _, record = separated()
    with pytest.raises(TypeError, match=r"ProjectionBack needs the Spectrogram.*asarr"):
        ProjectionBack().fit(record.data)
    with pytest.raises(ValueError, match="after the separator"):
        ProjectionBack().fit(replace(record, mixing=None))
    with pytest.raises(ValueError, match="'method' parameter"):
        ProjectionBack(method="mdp").fit(record)


def test_refuses_broken_records():
    _, _, record = separated()
    nan = record.mixing.copy()
    nan[0, 1, 1, 1] = np.nan
    for mixing, message in [
        (record.mixing[0], r"matrices of shape \(9, 3, 3\)"),
        (record.mixing[:, 1:], r"matrices of shape \(1, 8, 3, 3\)"),
        (record.mixing[..., 1:], r"matrices of shape \(1, 9, 3, 2\)"),
        (np.repeat(record.mixing, 2, axis=0), r"matrices of shape \(2, 9, 3, 3\)"),
        (nan, "mixing contains NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            ProjectionBack().fit_transform(replace(record, mixing=mixing))
    with pytest.raises(ValueError, match="NaN"):
        ProjectionBack().fit_transform(replace(record, data=record.data * np.nan))


def test_functions_refuse_arrays():
    X, W, record = separated()
    Y = record.data
    nan = np.where(np.arange(F)[:, None, None] == 2, np.nan, W)
    for function, message in [
        (lambda: projection_back(Y, W[1:]), r"\(8, 3, 3\) for sources"),
        (lambda: projection_back(Y, W[None]), r"\(1, 9, 3, 3\) for sources"),
        (lambda: projection_back(Y, W[0]), r"demixing matrices of shape \(3, 3\)"),
        (lambda: projection_back(Y, nan), "demixing contains NaN"),
        (lambda: projection_back(abs(Y), W), "complex"),
        (lambda: projection_back_lstsq(Y, X), r"reference of shape \(30, 9, 3\)"),
        (lambda: projection_back_lstsq(Y, np.nan * Y[..., 0]), "reference contains"),
        (lambda: normalized_mixing(W[:0]), r"demixing matrices of shape \(0, 3, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            function()


def test_equal_records_have_equal_hashes():
    hashes = {
        joblib.hash(ProjectionBack(ref_mic).fit_transform(separated()[2]))
        for ref_mic in (0, 1, 0, 1)
    }
    assert len(hashes) == 2


def test_set_output_and_names():
    _, _, record = separated()
    step = ProjectionBack()
    assert step.set_output(transform="pandas") is step
    assert isinstance(step.fit_transform(record), Spectrogram)
    with config_context(transform_output="pandas"):
        assert isinstance(ProjectionBack().fit_transform(record), Spectrogram)
    assert list(step.get_feature_names_out()) == ["source0", "source1", "source2"]


class Rotation(TransformerMixin, BaseEstimator):
    """Demixes with fixed matrices, and counts how often it is fitted."""

    n_fits = 0

    def fit(self, X, y=None):
        Rotation.n_fits += 1
        return self

    def transform(self, X):
        angle = np.linspace(0.1, 3, X.shape[1])
        c, s = np.cos(angle), np.sin(angle)
        W = np.moveaxis(np.array([[c, -s], [s, c]]), 2, 0)
        return replace(X, data=demix(X.data, W), mixing=np.linalg.inv(W)[None])


def test_cached_pipeline_refits_no_separator(tmp_path):
    x = np.random.default_rng(0).normal(size=(1000, 2))
    Rotation.n_fits = 0
    pipeline = make_pipeline(
        STFT(64), Rotation(), ProjectionBack(), ISTFT(), memory=str(tmp_path)
    )
    for ref_mic in (0, 1, 0):
        pipeline.set_params(projectionback__ref_mic=ref_mic)
        y = pipeline.fit_transform(x)
        assert_allclose(y.sum(axis=1), x[:, ref_mic], atol=1e-13)  # rounding
    assert Rotation.n_fits == 1


@pytest.mark.parametrize("method", [*METHODS, "array"])
def test_memory_is_one_more_spectrogram(method):
    n_frames, n_freqs = 1000, 513
    Y = cnormal(n_frames, n_freqs, 2)
    W = cnormal(n_freqs, 2, 2)
    record = Spectrogram(Y, {}, n_samples=1, mixing=W[None])
    if method == "array":
        W = np.broadcast_to(W, (n_frames, *W.shape))
    tracemalloc.start()
    if method == "array":
        projection_back(Y, W)
    else:
        ProjectionBack(method=method).fit_transform(record)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * Y.nbytes + 2e6  # blocks and matrices, whatever the length
