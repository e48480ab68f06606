"""The batch separators: what they compute, and how users steer and extend them."""

# License: BSD-3-Clause

import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, AuxIVA, ProjectionBack, Spectrogram
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_improvement
from tests.helpers import assert_never_rises, at_unit_level, level, log_determinants
from tests.reference import identity, output_power, relative_error

SOURCES = ["gauss", "laplace"]
SPATIAL = ["ip1", "ip2", "iss1", "iss2"]
METHODS = {
    "auxiva": AuxIVA(max_iter=10),
    "ilrma": ILRMA(max_iter=10, init_iter=5, random_state=0),
}

every_spatial = pytest.mark.parametrize("spatial", SPATIAL)


@pytest.fixture(params=METHODS)
def separator(request):
    return clone(METHODS[request.param])


@pytest.fixture(scope="module", params=[1, 2, 3])
def any_record(request):
    x, _ = make_convolutive_mixture(
        8000, request.param, sample_rate=8000, rt60=0.03, random_state=1
    )
    return STFT(n_fft=128).fit_transform(x)


# The objective


def auxiva_objective(estimator, X):
    power = output_power(estimator.demixing_, X).mean(axis=1)
    cost = np.log(power) + 1 if estimator.source == "gauss" else np.sqrt(power)
    return X.shape[1] * cost.sum() - log_determinants(estimator, X)


def ilrma_objective(estimator, X, unit):
    power = output_power(estimator.demixing_, X)
    r = estimator.basis_ @ estimator.activations_ / unit**2
    return np.sum(power / r + np.log(r)) - log_determinants(estimator, X)


@every_spatial
@pytest.mark.parametrize("source", SOURCES)
def test_the_objective_of_auxiva(source, spatial, any_record):
    auxiva = AuxIVA(source, spatial=spatial, max_iter=15).fit(any_record)
    expected = auxiva_objective(auxiva, at_unit_level(any_record))
    # Rounding of sums of 10^4 values, and noise that is assumed to be there.
    assert_allclose(auxiva.objective_[-1], expected, rtol=1e-9)
    assert_never_rises(auxiva, any_record)


@every_spatial
@pytest.mark.parametrize("update", ["mm", "me"])
@pytest.mark.parametrize("init", ["identity", "auxiva"])
def test_the_objective_of_ilrma(init, update, spatial, any_record):
    ilrma = ILRMA(
        3,
        update=update,
        spatial=spatial,
        init=init,
        init_iter=5,
        max_iter=15,
        random_state=0,
    ).fit(any_record)
    unit = level(any_record.data)
    expected = ilrma_objective(ilrma, at_unit_level(any_record), unit)
    assert_allclose(ilrma.objective_[-1], expected, rtol=1e-9)
    if update == "mm":
        assert_never_rises(ilrma, any_record)


def test_it_falls_from_the_first_iteration_on(record):
    """As it is the same function that AuxIVA and warm starts continue to lower."""
    separator = AuxIVA(max_iter=1, warm_start=True)
    values = [separator.fit(record).objective_[0] for _ in range(5)]
    assert (np.diff(values) < 0).all()
    assert_allclose(values, AuxIVA(max_iter=5).fit(record).objective_, rtol=1e-12)


# What comes out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pauses_count_as_little_in_double_as_in_single_precision(seed):
    """Two thirds of the frames, 80 dB below the others, come from elsewhere.

    Taken for as important as speech, they doubled what leaks in double precision.
    """
    rng = np.random.default_rng(seed)
    n_frames, n_freqs = 60, 33

    def normal(*shape):
        return rng.normal(size=(*shape, 2)) @ [1, 1j]

    def recording(n, mixing):
        sources = rng.gamma(0.3, size=(2, n, 1)) * normal(2, n, n_freqs)
        return np.einsum("fmk,ktf->tfm", mixing, sources)

    mixing, elsewhere = normal(2, n_freqs, 2, 2)
    X = recording(n_frames, mixing) + 0.03 * normal(n_frames, n_freqs, 2)
    X = np.concatenate([X, 1e-4 * recording(2 * n_frames, elsewhere)])
    leaks = []
    for dtype in (np.complex64, np.complex128):
        gains = abs(AuxIVA().fit(X.astype(dtype)).demixing_ @ mixing)
        leaks.append((gains.min(2) / gains.max(2)).mean())
    assert leaks[1] == pytest.approx(leaks[0], abs=0.05)


@pytest.mark.parametrize("spatial", SPATIAL)
def test_both_methods_separate(spatial):
    x, y = make_convolutive_mixture(12_000, 3, sample_rate=4000, random_state=2)
    gains = {}
    for separator in (
        AuxIVA(spatial=spatial, max_iter=30),
        AuxIVA("laplace", spatial=spatial, max_iter=30),
        ILRMA(spatial=spatial, max_iter=30, init_iter=20, random_state=0),
    ):
        pipe = make_pipeline(STFT(512), separator, ProjectionBack(), ISTFT())
        separated = pipe.fit_transform(x)
        gains[repr(separator)] = si_sdr_improvement(y, separated, x).mean()
    assert min(gains.values()) > 5


def test_the_attributes_fit_together(separator, any_record):
    separator.fit(any_record)
    _, n_freqs, n_mics = any_record.shape
    assert separator.demixing_.shape == (n_freqs, n_mics, n_mics)
    assert separator.demixing_.dtype == separator.mixing_.dtype == np.complex128
    unit = separator.mixing_ @ separator.demixing_
    # Rounding, magnified by the condition of the lowest bins, some 1e3.
    assert_allclose(unit, np.eye(n_mics) + 0 * unit, atol=1e-10)
    assert separator.n_iter_ == separator.max_iter
    assert separator.n_features_in_ == n_mics


def test_ilrma_gives_every_output_the_level_of_the_recording(any_record):
    ilrma = ILRMA(3, max_iter=4, init_iter=2, random_state=0)
    Y = ilrma.fit_transform(any_record).data
    level = np.mean(abs(any_record.data) ** 2)
    assert_allclose(np.mean(abs(Y) ** 2, axis=(0, 1)), level, rtol=1e-9)
    n_frames, n_freqs, n_sources = Y.shape
    assert ilrma.basis_.shape == (n_sources, n_freqs, 3)
    assert ilrma.activations_.shape == (n_sources, 3, n_frames)
    # the model has learned the powers: mean |y|^2 / r is 1 at the best variances
    ratio = (abs(Y) ** 2).transpose(2, 1, 0) / (ilrma.basis_ @ ilrma.activations_)
    assert_allclose(ratio.mean(), 1, rtol=0.2)


def test_transform_applies_the_demixing_matrices(separator, any_record):
    separator.fit(any_record)
    later = any_record.data[40:70]
    expected = np.einsum("fkm,tfm->tfk", separator.demixing_, later)
    assert_allclose(separator.transform(later), expected, atol=1e-12)
    mixing = separator.transform(replace(any_record, data=later)).mixing
    assert_array_equal(mixing[0], separator.mixing_)


def test_fit_transform_is_fit_and_transform(separator, record):
    together = clone(separator).fit_transform(record)
    apart = separator.fit(record).transform(record)
    assert_array_equal(together.data, apart.data)
    assert_array_equal(together.mixing, apart.mixing)


def test_records_stay_records_and_arrays_arrays(separator, record):
    Y = separator.fit_transform(record)
    assert isinstance(Y, Spectrogram)
    assert Y.stft_params == record.stft_params
    assert Y.n_samples == record.n_samples
    assert Y.mixing.shape == (1, *separator.mixing_.shape)
    back = np.einsum("fmk,tfk->tfm", Y.mixing[0], Y.data)
    assert_allclose(back, record.data, atol=1e-12)
    bare = separator.fit_transform(record.data)
    assert type(bare) is np.ndarray
    assert_array_equal(bare, Y.data)
    assert_array_equal(separator.fit_transform(record.data.tolist()), Y.data)


def test_memory_layout_does_not_matter(separator, record):
    expected = separator.fit_transform(record.data)
    for same in (np.asfortranarray(record.data), np.repeat(record.data, 2, 0)[::2]):
        assert_array_equal(separator.fit_transform(same), expected)


def test_single_precision(separator, record):
    single = record.data.astype(np.complex64)
    Y = separator.fit_transform(single)
    assert Y.dtype == np.complex64
    assert separator.demixing_.dtype == np.complex128
    expected = separator.fit_transform(record.data)
    # 100 iterations' worth of float32 roundings, and noise assumed at -100 dB.
    assert_allclose(Y, expected, rtol=0, atol=1e-3 * abs(expected).max())
    # fitted in one precision, it demixes in the other
    assert separator.transform(single).dtype == np.complex64


@every_spatial
def test_the_microphones_may_be_transformed(spatial, record, rng):
    """Which mixtures the microphones pick up matters for nothing but the start."""
    B = rng.normal(size=(65, 2, 2, 2)) @ [1, 1j]
    other = np.einsum("fmn,tfn->tfm", B, record.data)
    gain = level(record.data) / level(other)
    for separator in (AuxIVA(), AuxIVA("laplace"), ILRMA(random_state=0)):
        separator.set_params(spatial=spatial, max_iter=5)
        expected = clone(separator.set_params(init=identity(record.data))).fit(record)
        separator.set_params(init=np.linalg.inv(gain * B)).fit(gain * other)
        W = separator.demixing_ @ (gain * B)
        # Rounding, magnified by the condition of B and of the lowest bins.
        assert relative_error(W, expected.demixing_) < 1e-7


# Stopping


def test_tol_stops_early(separator, record):
    separator.set_params(tol=1e-3, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        separator.fit(record)
    assert 2 < separator.n_iter_ < 400
    assert separator.objective_.shape == (separator.n_iter_,)
    falls = -np.diff(separator.objective_) / record.data.size
    assert falls[-1] < 1e-3
    assert (falls[:-1] >= 1e-3).all()


def test_tol_that_is_not_reached_warns(separator, record):
    separator.set_params(tol=1e-9, max_iter=3)
    message = f"{type(separator).__name__} did not converge to tol=1e-09 in max_iter=3"
    with pytest.warns(ConvergenceWarning, match=message):
        separator.fit(record)
    assert separator.n_iter_ == 3


def test_tol_means_the_same_for_any_recording(separator, record):
    separator.set_params(tol=1e-3, max_iter=500)
    n_iter = separator.fit(record).n_iter_
    assert separator.fit(1e3 * record.data).n_iter_ == n_iter
    twice = separator.fit(np.tile(record.data, (2, 1, 1))).n_iter_
    # ILRMA's activations start at random.
    assert abs(twice - n_iter) <= (1 if isinstance(separator, ILRMA) else 0)


def test_without_tol_all_iterations_are_run_silently(separator, record):
    silence = np.zeros_like(record.data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X in (record, silence):  # silence has converged before it begins
            assert separator.set_params(tol=0, max_iter=7).fit(X).n_iter_ == 7
            assert separator.objective_.shape == (7,)


# Starting


@pytest.mark.parametrize(
    ("separator", "rtol"),  # ten iterations magnify rounding to some 1e-12
    [
        (AuxIVA(), 1e-9),
        (AuxIVA("laplace", spatial="iss2"), 1e-9),
        (AuxIVA("cliques"), 1e-6),  # its filters lose some digits
        (ILRMA(init_iter=5, random_state=0), 1e-9),
        (ILRMA(3, init="identity", update="me", spatial="ip2", random_state=0), 1e-9),
    ],
    ids=repr,
)
def test_warm_start_continues(separator, rtol, record):
    separator = clone(separator).set_params(max_iter=10)
    at_once = clone(separator).set_params(max_iter=20).fit(record)
    separator.set_params(warm_start=True)
    first = separator.fit(record).objective_
    second = separator.fit(record).objective_
    assert relative_error(separator.demixing_, at_once.demixing_) < rtol
    assert_allclose(np.append(first, second), at_once.objective_, rtol=rtol)
    if isinstance(separator, ILRMA):
        assert_allclose(separator.basis_, at_once.basis_, rtol=10 * rtol)
        assert_allclose(separator.activations_, at_once.activations_, rtol=10 * rtol)


def test_without_warm_start_fit_begins_anew(separator, record):
    expected = separator.fit(record).demixing_
    assert_array_equal(separator.fit(record).demixing_, expected)


def test_warm_start_on_a_recording_of_another_length(separator, record):
    separator.set_params(warm_start=True).fit(record)
    for n_frames in (50, 128, 1):
        separator.fit(record.data[:n_frames])
        assert separator.transform(record.data).shape == record.shape
    separator.fit(np.tile(record.data, (2, 1, 1)))
    assert np.isfinite(separator.objective_).all()


def test_warm_start_from_what_was_learned(record):
    """The second part of a recording starts where the first part ended."""
    early, late = record.data[:64], record.data[64:]
    warm = AuxIVA(max_iter=20, warm_start=True).fit(early).set_params(max_iter=1)
    given = AuxIVA(max_iter=1, init=warm.demixing_).fit(late)
    assert_array_equal(warm.fit(late).demixing_, given.demixing_)


class Halves:
    """Variance model of a user."""

    def variance(self, power):
        return power / 2 + 0.5


def test_warm_start_with_another_model(record):
    ilrma = ILRMA(max_iter=3, init_iter=2, random_state=0, warm_start=True)
    ilrma.set_params(source=Halves()).fit(record)
    for n_basis in (2, 4):
        ilrma.set_params(source="nmf", n_basis=n_basis).fit(record)
        assert ilrma.basis_.shape == (2, 65, n_basis)
        assert_never_rises(ilrma, record)


@pytest.mark.parametrize("what", ["microphones", "bins"])
def test_warm_start_on_another_kind_of_recording(separator, record, what):
    separator.set_params(warm_start=True).fit(record)
    other, message = {
        "microphones": (record.data[..., :1], "X has 1 features, but .* expecting 2"),
        "bins": (record.data[:, :9], "X has 9 frequency bins, but .* fitted on 65"),
    }[what]
    with pytest.raises(ValueError, match=message):
        separator.fit(other)
    with pytest.raises(ValueError, match=message):
        separator.transform(other)
    # without, the new recording replaces the old one
    separator.set_params(warm_start=False).fit(other)
    assert separator.transform(other).shape == other.shape


def test_init(separator, record):
    start = AuxIVA(max_iter=5).fit(record).demixing_
    separator.set_params(init=start)
    expected = separator.fit(record).demixing_
    assert_array_equal(
        separator.set_params(init=start.tolist()).fit(record).demixing_, expected
    )
    assert_array_equal(start, AuxIVA(max_iter=5).fit(record).demixing_)  # not changed


def test_init_of_auxiva_is_where_it_starts(record):
    start = AuxIVA(max_iter=5).fit(record).demixing_
    auxiva = AuxIVA(max_iter=3, init=start).fit(record)
    expected = AuxIVA(max_iter=8).fit(record)
    assert relative_error(auxiva.demixing_, expected.demixing_) < 1e-10
    assert_allclose(auxiva.objective_, expected.objective_[5:], rtol=1e-12)


@every_spatial
def test_init_of_ilrma_by_auxiva(spatial, record):
    start = AuxIVA(spatial=spatial, max_iter=5).fit(record).demixing_
    ilrma = ILRMA(spatial=spatial, init_iter=5, max_iter=3, random_state=0)
    expected = clone(ilrma).set_params(init=start).fit(record).demixing_
    assert relative_error(ilrma.fit(record).demixing_, expected) < 1e-10


def test_init_of_ilrma_by_the_identity(record):
    ilrma = ILRMA(max_iter=3, random_state=0)
    expected = clone(ilrma).set_params(init=identity(record.data)).fit(record)
    ilrma.set_params(init="identity").fit(record)
    assert_array_equal(ilrma.demixing_, expected.demixing_)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.eye(2), r"init of shape \(2, 2\), expected .* = \(65, 2, 2\)"),
        (np.tile(np.eye(3), (65, 1, 1)), r"\(65, 3, 3\), expected .* = \(65, 2, 2\)"),
        (np.ones((65, 1, 2)), r"\(65, 1, 2\), expected .* \(65, 2, 2\)"),
        (np.zeros((65, 2, 2)), "singular"),
        (np.ones((65, 2, 2)), "singular"),
        (np.full((65, 2, 2), np.nan), "non-finite"),
        (np.full((65, 2, 2), np.inf), "non-finite"),
    ],
)
def test_bad_init(separator, record, init, message):
    with pytest.raises(ValueError, match=message):
        separator.set_params(init=init).fit(record)


def test_random_state(record):
    ilrma = ILRMA(max_iter=3, init_iter=2, random_state=0)
    expected = ilrma.fit(record).demixing_
    assert_array_equal(clone(ilrma).fit(record).demixing_, expected)
    instance = ilrma.set_params(random_state=np.random.RandomState(0))
    assert_array_equal(instance.fit(record).demixing_, expected)
    assert (instance.fit(record).demixing_ != expected).any()  # it has moved on
    assert (ilrma.set_params(random_state=1).fit(record).demixing_ != expected).any()


def test_auxiva_is_deterministic(record):
    expected = AuxIVA(max_iter=3).fit(record).demixing_
    for seed in (0, 1, np.random.RandomState(0)):
        auxiva = AuxIVA(max_iter=3, random_state=seed).fit(record)
        assert_array_equal(auxiva.demixing_, expected)


# Parameters


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        (AuxIVA("gaus"), "'source' parameter of AuxIVA must be .*'gauss'.*Got 'gaus'"),
        (
            AuxIVA(3),
            "'source' parameter of AuxIVA .*implementing '(cost|variance)' and",
        ),
        (AuxIVA(spatial="ip3"), "'spatial' parameter of AuxIVA .*'ip2'.*Got 'ip3'"),
        (AuxIVA(spatial=3), "'spatial' parameter of AuxIVA .*'update'"),
        (AuxIVA(max_iter=0), "'max_iter' parameter of AuxIVA .*Got 0"),
        (AuxIVA(max_iter=2.5), "'max_iter' parameter of AuxIVA .*Got 2.5"),
        (AuxIVA(tol=-1), "'tol' parameter of AuxIVA .*Got -1"),
        (AuxIVA(tol=np.nan), "'tol' parameter of AuxIVA .*Got nan"),
        (AuxIVA(init="auxiva"), "'init' parameter of AuxIVA .*Got 'auxiva'"),
        (AuxIVA(warm_start="yes"), "'warm_start' parameter of AuxIVA .*Got 'yes'"),
        (AuxIVA(random_state="a"), "'random_state' parameter of AuxIVA .*Got 'a'"),
        (ILRMA(0), "'n_basis' parameter of ILRMA .*Got 0"),
        (ILRMA(2.0), "'n_basis' parameter of ILRMA .*Got 2.0"),
        (ILRMA(source="gauss"), "'source' parameter of ILRMA .*'nmf'.*Got 'gauss'"),
        (ILRMA(update="mu"), "'update' parameter of ILRMA .*Got 'mu'"),
        (ILRMA(spatial="ip"), "'spatial' parameter of ILRMA .*Got 'ip'"),
        (ILRMA(init="random"), "'init' parameter of ILRMA .*Got 'random'"),
        (ILRMA(init=None), "'init' parameter of ILRMA .*Got None"),
        (ILRMA(init_iter=0), "'init_iter' parameter of ILRMA .*Got 0"),
        (ILRMA(max_iter=0), "'max_iter' parameter of ILRMA .*Got 0"),
        (ILRMA(tol=-1e-3), "'tol' parameter of ILRMA .*Got -0.001"),
    ],
    ids=repr,
)
def test_bad_parameters(separator, message, record):
    with pytest.raises(ValueError, match=message):
        separator.fit(record)
    assert not hasattr(separator, "demixing_")
