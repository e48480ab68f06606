"""More sources than microphones: masks, their order, and models of full rank."""

# License: BSD-3-Clause

import pickle
from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skbss import (
    ISTFT,
    STFT,
    FullRankRefine,
    MaskSeparator,
    ProjectionBack,
    Spectrogram,
    make_separator,
)
from skbss.datasets import make_convolutive_mixture
from skbss.linalg import inverse_features, ldl_hpd, pack_hermitian, unpack_hermitian
from skbss.methods import make_method
from skbss.metrics import si_sdr_improvement
from skbss.updates import full_rank, masks
from tests.degenerate import DEGENERATE

RATE = 8000


def make_scene(n_sources=3, n_mics=2, n_samples=24_000, seed=0):
    """Return a recording and the images of its sources at microphone 0."""
    return make_convolutive_mixture(
        n_samples,
        n_sources,
        n_mics=n_mics,
        sample_rate=RATE,
        rt60=0.03,
        random_state=seed,
    )


def make_record(n_sources=3, n_mics=2, n_samples=8000, n_fft=128, seed=0):
    x, _ = make_scene(n_sources, n_mics, n_samples, seed)
    return STFT(n_fft, sample_rate=RATE).fit_transform(x)


def noisy_directions(record, n_bins):
    """Return features of the first bins, as if there was some noise in them."""
    x = masks.Whitening.of(record.data).apply(record.data, slice(n_bins))
    return masks.directions(x, np.linspace(0, 0.5, n_bins))


def with_estimates(record, n_sources=3):
    """Return a spectrogram of noisy estimates and microphones, and the estimates."""
    rng = np.random.default_rng(0)
    shape = *record.shape[:2], n_sources
    share = rng.dirichlet(np.full(n_sources, 0.5), shape[:1])[:, None]
    Y = record.data[..., :1] * np.sqrt(share)
    return np.concatenate([Y, record.data], axis=2)


@pytest.mark.parametrize("n_mics", [1, 2, 3, 5])
def test_features_of_inverses(rng, n_mics):
    A = rng.normal(size=(n_mics, n_mics, 40, 2)) @ [1, 1j]
    V = np.einsum("ikn,jkn->ijn", A, A.conj()) + 0.1 * np.eye(n_mics)[..., None]
    assert_allclose(unpack_hermitian(pack_hermitian(V)), V)
    expected = np.linalg.inv(V.transpose(2, 0, 1)).transpose(1, 2, 0)
    features = inverse_features(*ldl_hpd(V))
    assert_allclose(unpack_hermitian(features), expected, rtol=1e-8, atol=1e-10)


def test_densities_are_those_of_the_distribution(rng):
    record = make_record(n_mics=3)
    whitening = masks.Whitening.of(record.data)
    x = whitening.apply(record.data, slice(3, 6))
    U = masks.directions(x, np.full(3, 0.1))
    shapes = masks.adapted(
        U, rng.dirichlet(np.ones(2), (3, len(record))).swapaxes(1, 2)
    )
    weights = np.array([0.3, 0.7])
    p = shapes.joint(shapes.quadratic(U), weights[:, None])
    for f, t, k in [(0, 5, 0), (1, 40, 1), (2, 11, 0)]:
        u = x[:, f, t] / np.linalg.norm(x[:, f, t])
        B = np.linalg.inv(shapes.matrices[f, k])
        q = (1 - masks.NOISE) * (u.conj() @ B @ u).real
        q += masks.NOISE * np.trace(B).real / 3
        det = np.linalg.det(shapes.matrices[f, k]).real
        q *= masks.counts_of(U)[f, 0, t]  # the same for all sources
        assert_allclose(p[f, k, t], weights[k] / det / q**3)


@pytest.mark.parametrize("n_sources", [2, 3, 5])
def test_the_likelihood_of_a_bin_never_falls(n_sources):
    record = make_record(4, 3)
    U = noisy_directions(record, 20)
    start = masks.random_masks(range(20), n_sources, len(record))
    likelihoods = np.array(masks.find_masks(U, 25, [start])[1])
    assert (np.diff(likelihoods, axis=0) >= -1e-9 * abs(likelihoods[:-1])).all()
    assert (likelihoods[-1] > likelihoods[0]).all()


def test_the_most_likely_start_counts():
    record = make_record()
    U = noisy_directions(record, 20)
    starts = [masks.random_masks(range(k, k + 20), 3, len(record)) for k in (0, 50)]
    alone = [masks.find_masks(U, 8, [start]) for start in starts]
    both, _ = masks.find_masks(U, 8, starts)
    for f in range(20):
        best = np.argmax([likelihoods[-1][f] for _, likelihoods in alone])
        assert_array_equal(both[f], alone[best][0][f])


@pytest.mark.parametrize("n_sources", [2, 3, 6])
def test_sources_of_all_bins_are_put_in_one_order(n_sources):
    rng = np.random.default_rng(n_sources)
    activity = rng.gamma(0.3, size=(1, n_sources, 300))
    power = activity * rng.gamma(0.5, size=(90, n_sources, 300))
    truth = power / power.sum(1, keepdims=True)
    truth[7] = 1 / n_sources  # a silent bin
    mixed = [rng.permutation(n_sources) for _ in truth]
    shuffled = np.array([m[p] for m, p in zip(truth, mixed, strict=True)])
    order = masks.align(shuffled, np.ones(90))
    found = {
        tuple(p[o]) for f, (p, o) in enumerate(zip(mixed, order, strict=True)) if f != 7
    }
    assert len(found) == 1
    assert found <= set(permutations(range(n_sources)))


@pytest.mark.parametrize(("n_sources", "n_mics"), [(2, 2), (3, 2), (4, 3), (6, 2)])
def test_objectives_never_rise(n_sources, n_mics):
    record = make_record(n_sources, n_mics)
    separator = MaskSeparator(n_sources, time_iter=15, random_state=0).fit(record)
    assert separator.objective_.shape == (15,)
    size = abs(separator.objective_).max()
    assert (np.diff(separator.objective_) <= 1e-7 * size).all()
    refine = FullRankRefine(n_sources, n_basis=4, max_iter=31, random_state=0)
    refine.fit(with_estimates(record, n_sources))
    assert (np.diff(refine.objective_) <= 1e-9 * abs(refine.objective_).max()).all()


@pytest.mark.parametrize("n_mics", [1, 2, 3])
def test_the_objective_is_the_likelihood(n_mics):
    record = make_record(3, n_mics, 1500, 32)
    refine = FullRankRefine(3, n_basis=2, max_iter=4, random_state=0)
    refine.fit(with_estimates(record))
    whitening = masks.Whitening.of(record.data)
    x = whitening.apply(record.data, slice(None))
    v = np.einsum("kfl,klt->kft", refine.basis_, refine.activations_)
    C = np.einsum("kft,fkij->ftij", v, refine.covariances_)
    C += full_rank.NOISE * np.eye(n_mics)
    z = np.linalg.solve(C, x.transpose(1, 2, 0)[..., None])[..., 0]
    cost = np.einsum("mft,ftm->", x.conj(), z).real + np.linalg.slogdet(C)[1].sum()
    assert_allclose(refine.objective_[-1], cost)
    # And the outputs are Wiener filters at the reference.
    R, ref = refine.covariances_, 0
    images = np.einsum("kft,fkij,ftj->tfki", v, R, z)
    back = np.einsum("jf,tfkj->tfk", whitening.Z_inv[ref], images)
    Y = refine.fit_transform(with_estimates(record))
    assert_allclose(Y, back * whitening.scale, atol=1e-9 * abs(Y).max())


def test_separation():
    n_sources = 3
    x, y = make_scene(n_sources, 2, 20_000)
    pipeline = make_separator(n_sources=n_sources, sample_rate=RATE, random_state=0)
    z = pipeline.fit_transform(x)
    assert z.shape == (len(x), n_sources)
    assert si_sdr_improvement(y, z, x).mean() > 3
    power = (z**2).mean(0)
    assert_array_equal(power, np.sort(power)[::-1])
    # Images at the microphone, but for the noise that filters expect.
    assert_allclose(z.sum(1), x[:, 0], atol=1e-3 * abs(x).max())
    again = make_separator(n_sources=n_sources, sample_rate=RATE, random_state=0)
    assert_array_equal(again.fit_transform(x), z)
    later = pipeline.transform(x)
    # Powers are learned anew: nearly the same.
    assert si_sdr_improvement(y, later, x).mean() > 3
    first = pipeline["sources"].separator_["first"].transform(x)[:, :n_sources]
    assert si_sdr_improvement(y, first, x).mean() > 3


def test_the_number_of_microphones_decides():
    pipeline = make_separator("refined", n_sources=3, sample_rate=RATE, random_state=0)
    few, _ = make_scene(3, 2, 8000)
    pipeline.set_params(
        sources__masks__second__refine__max_iter=3, cancel="passthrough"
    )
    assert pipeline.fit_transform(few).shape == (8000, 3)
    names = list(pipeline["sources"].separator_.named_steps)
    assert names == ["first", "second"]
    many, _ = make_scene(3, 3, 8000)
    assert pipeline.fit_transform(many).shape == (8000, 3)
    for method in ("auxiva", "ilrma"):
        with pytest.raises(ValueError, match="MaskSeparator more"):
            make_separator(method, n_sources=3).fit(few)
    with pytest.raises(ValueError, match="1 microphone, expected at least 2"):
        pipeline.fit(few[:, :1])


def test_records_say_what_they_are():
    x, _ = make_scene(3, 2, 8000)
    for ref_mic in (0, 1):
        separator = MaskSeparator(3, ref_mic=ref_mic, random_state=0)
        Y = separator.fit_transform(make_record())
        assert isinstance(Y, Spectrogram)
        assert Y.images_at == ref_mic
        assert_array_equal(ProjectionBack(ref_mic).fit_transform(Y).data, Y.data)
        pipeline = make_pipeline(STFT(128), separator, ISTFT())
        z = pipeline.fit_transform(x)
        assert_allclose(z.sum(1), x[:, ref_mic], atol=1e-3 * abs(x).max())
        assert list(separator.get_feature_names_out()) == [
            f"source{k}" for k in range(3)
        ]
        # What the mixing matrices tell of the other microphone is much of it.
        mics = np.einsum("fmk,tfk->tfm", separator.mixing_, Y.data)
        error = np.linalg.norm(mics - make_record().data)
        assert error < 0.7 * np.linalg.norm(make_record().data)


def test_fit_and_transform_are_fit_transform():
    record = make_record()
    separator = MaskSeparator(3, random_state=0)
    Y = separator.fit_transform(record)
    assert_array_equal(separator.fit(record).transform(record).data, Y.data)
    again = pickle.loads(pickle.dumps(separator))
    assert_array_equal(again.transform(record).data, Y.data)
    refine = FullRankRefine(3, max_iter=4, random_state=0)
    data = with_estimates(record)
    again = pickle.loads(pickle.dumps(refine.fit(data)))
    assert_array_equal(again.transform(data), refine.transform(data))


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_the_level_does_not_matter(scale):
    X = make_record().data
    for separator, data in (
        (MaskSeparator(3, random_state=0), X),
        (FullRankRefine(3, max_iter=4, random_state=0), with_estimates(make_record())),
    ):
        expected = separator.fit_transform(data)
        Y = separator.fit_transform(data * scale)
        # Rounding grows where two starts are equally likely.
        error = np.linalg.norm(Y / scale - expected)
        assert error < 1e-3 * np.linalg.norm(expected)


def test_single_precision():
    X = make_record().data
    for scale in (1e-25, 1, 1e25):
        single = (scale * X).astype(np.complex64)
        Y = MaskSeparator(3, random_state=0).fit_transform(single)
        assert Y.dtype == np.complex64
        assert_allclose(Y.sum(2), single[..., 0], atol=1e-3 * abs(single).max())
        data = np.concatenate([Y, single], axis=2)
        Y = FullRankRefine(3, max_iter=4).fit_transform(data)
        assert Y.dtype == np.complex64
        assert np.isfinite(Y).all()


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_recordings_leave_finite_numbers(name):
    X = DEGENERATE[name]
    n_sources = X.shape[2] + 1
    separator = MaskSeparator(n_sources, max_iter=4, random_state=0)
    with np.errstate(all="raise", under="ignore"):
        Y = separator.fit_transform(X)
        data = np.concatenate([Y, X], axis=2)
        refine = FullRankRefine(n_sources, n_basis=2, max_iter=6, random_state=0)
        Z = refine.fit_transform(data)
        later = refine.transform(data)
    for outputs in (Y, Z, later):
        assert np.isfinite(outputs).all()
        assert np.linalg.norm(outputs) <= 3 * np.linalg.norm(X)
    assert_allclose(Y.sum(2), X[..., 0], atol=1e-2 * (abs(X).max() or 1))
    assert np.isfinite(separator.objective_).all()
    assert np.isfinite(refine.objective_).all()


def test_more_than_masks_can_tell_apart():
    with pytest.warns(UserWarning, match="n_sources=5 and 2 microphones"):
        MaskSeparator(5, max_iter=1, time_iter=1).fit(make_record())


def test_masks_are_a_method():
    x, references = make_scene(n_sources=2)
    pipeline = make_method("masks", sample_rate=8000, random_state=0)
    y = pipeline.fit_transform(x)
    assert pipeline["masks"].n_sources == 2
    assert np.diff(np.square(y).sum(0)) < 0
    assert si_sdr_improvement(references, y, x).min() > 5


def test_refusals():
    record = make_record()
    with pytest.raises(NotFittedError):
        MaskSeparator().transform(record)
    with pytest.raises(ValueError, match="ref_mic=2"):
        MaskSeparator(ref_mic=2).fit(record)
    with pytest.raises(ValueError, match="2 channels, but 2 estimates"):
        FullRankRefine(2).fit(record)
    with pytest.raises(ValueError, match="ref_mic=1"):
        FullRankRefine(1, ref_mic=1).fit(record)
    with pytest.raises(ValueError, match="fitted on 65"):
        MaskSeparator(max_iter=1).fit(record).transform(record.data[:, 1:])
