"""Sorting of bands, cliques, and separators that follow one another."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, AuxIVA, ProjectionBack, make_separator
from skbss.compose import METHODS
from skbss.datasets import load_cocktail_party, make_convolutive_mixture
from skbss.linalg import log_volume
from skbss.metrics import si_sdr_improvement
from skbss.updates import Cliques, Gauss
from skbss.updates.iteration import SourceVariances
from skbss.updates.recording import Recording
from skbss.updates.sorting import sort_bands


@pytest.fixture(scope="module")
def recording():
    return make_convolutive_mixture(64000, 3, rt60=0.05, random_state=1)


@pytest.fixture(scope="module")
def spectrogram(recording):
    return STFT(n_fft=512).fit_transform(recording[0][:32_000])


def random_rows(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def test_sorting_swaps_bands_back(spectrogram):
    recording = Recording(spectrogram.data)
    W = recording.from_microphones(AuxIVA(max_iter=40).fit(spectrogram).demixing_)
    model = SourceVariances(Gauss(), float)
    settled = sort_bands(recording, W, model)
    # Two crossings, at limits of the 64 parts that 257 bins are divided into.
    mixed = settled.copy()
    mixed[[0, 1], :, 100:160] = mixed[[1, 0], :, 100:160]
    mixed[[1, 2], :, 200:] = mixed[[2, 1], :, 200:]
    again = sort_bands(recording, mixed, model)

    def cost(W):
        return model.weigh(recording, W)[0] - 2 * len(spectrogram) * log_volume(W).sum()

    assert cost(again) < cost(mixed)
    np.testing.assert_allclose(cost(again), cost(settled), rtol=1e-9)
    # Which output is which is open as a whole; every bin has the same answer.
    order = [np.flatnonzero([(s == row).all() for s in settled])[0] for row in again]
    assert sorted(order) == [0, 1, 2]


@pytest.mark.parametrize("sort_iter", [0, 3])
def test_the_objective_never_rises_by_sorting(spectrogram, sort_iter):
    objectives = AuxIVA(max_iter=12, sort_iter=sort_iter).fit(spectrogram).objective_
    # Rounding of a sum of 1e5 terms.
    assert (np.diff(objectives) <= 1e-10 * abs(objectives[0])).all()


def slow_cliques(power, widths):
    """Cost and inverse variances by loops over cliques."""
    F = power.shape[1]
    cost, precision = 0.0, np.zeros_like(power)
    for fraction in widths:
        half = round(fraction * F / 2)
        width = 2 * half + 1
        for center in range(F):
            members = slice(max(center - half, 0), center + half + 1)
            q = power[:, members].sum(1) / width
            cost += (np.log(q) + 1).sum() / len(widths)
            precision[:, members] += 1 / q[:, None] / width / len(widths)
    return cost, precision


@pytest.mark.parametrize("widths", [(1.0,), (0.25, 0.03), (1 / 4, 1 / 16, 1 / 64)])
def test_cliques_against_loops(widths):
    power = np.random.default_rng(0).gamma(0.3, size=(2, 50, 7)) + 1e-6
    cost, precision = slow_cliques(power, widths)
    source = Cliques(widths)
    np.testing.assert_allclose(source.cost(power).sum(), cost, rtol=1e-10)
    # The filter's running sums lose about as much as the powers' range has digits.
    np.testing.assert_allclose(source.variance(power), 1 / precision, rtol=1e-6)


@pytest.mark.parametrize("n_freqs", [5, 24, 25, 31])
def test_bands_of_any_number_of_bins(n_freqs):
    X = random_rows((11, n_freqs, 2))
    recording = Recording(X)
    W = random_rows((2, 2, n_freqs), seed=1)
    source = Cliques((0.5, 0.1), n_bands=8)
    size = max(1, n_freqs // 8)
    white = np.einsum("mnf,tfn->tfm", recording.Z, X) / recording.scale
    Q = np.stack([abs(np.einsum("mf,tfm->ft", W[k], white)) ** 2 for k in range(2)])
    bands = [Q[:, i : i + size].sum(1) / size for i in range(0, n_freqs, size)]
    expected, precision = slow_cliques(np.stack(bands, axis=1), source.widths)
    cost, S = SourceVariances(source, float).weigh(recording, W)
    np.testing.assert_allclose(cost, size * expected, rtol=1e-6)
    precision = np.repeat(precision, size, axis=1)[:, :n_freqs]
    # The first feature is the power of the first whitened microphone.
    power = abs(white[..., 0].T) ** 2
    np.testing.assert_allclose(S[:, 0], (precision * power).mean(2), rtol=1e-6)


@pytest.mark.parametrize("spatial", ["ip1", "ip2", "iss1", "iss2"])
def test_the_objective_of_cliques_never_rises(spectrogram, spatial):
    start = AuxIVA(max_iter=20).fit_transform(spectrogram)
    separator = AuxIVA("cliques", spatial=spatial, max_iter=10).fit(start)
    objectives = separator.objective_
    # What rounding in the filters leaves of an exact descent.
    assert (np.diff(objectives) <= 1e-8 * abs(objectives[0])).all()
    assert objectives[-1] < objectives[0]


def test_cliques_refine_what_auxiva_found(recording):
    x, y = recording
    scores = []
    for separators in ([AuxIVA()], [AuxIVA(), AuxIVA("cliques", max_iter=20)]):
        pipe = make_pipeline(STFT(n_fft=2048), *separators, ProjectionBack(), ISTFT())
        scores.append(si_sdr_improvement(y, pipe.fit_transform(x), x).mean())
    assert scores[1] > scores[0] + 1


def test_separators_that_follow_one_another_lead_back_to_the_microphones(spectrogram):
    steps = AuxIVA(max_iter=5), ILRMA(max_iter=5, init="identity"), AuxIVA("cliques")
    Y = make_pipeline(*steps).fit_transform(spectrogram)
    back = (Y.mixing @ Y.data[..., None])[..., 0]
    scale = abs(spectrogram.data).max()
    np.testing.assert_allclose(back, spectrogram.data, rtol=0, atol=1e-9 * scale)


def test_projection_back_to_the_sum(spectrogram):
    Y = AuxIVA(max_iter=5).fit_transform(spectrogram)
    total = ProjectionBack("sum").fit_transform(Y).data.sum(axis=2)
    scale = abs(spectrogram.data).max()
    np.testing.assert_allclose(
        total, spectrogram.data.sum(axis=2), rtol=0, atol=1e-10 * scale
    )


@pytest.mark.parametrize("method", METHODS)
def test_outputs_sum_to_the_reference_microphone(method):
    x, _ = make_convolutive_mixture(8000, random_state=0)
    pipe = make_separator(method, sample_rate=4000, ref_mic=1, random_state=0)
    y = pipe.fit_transform(x)
    np.testing.assert_allclose(y.sum(axis=1), x[:, 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("method", "least"), [("refined", 15), ("ilrma", 12)])
def test_the_bundled_recording_is_separated(method, least):
    recording = load_cocktail_party()
    pipe = make_separator(method, random_state=0)
    y = pipe.fit_transform(recording.mixture)
    scores = si_sdr_improvement(recording.references, y, recording.mixture)
    assert scores.min() > least  # measured: 19 and 16 dB


def test_unknown_method():
    with pytest.raises(ValueError, match="Got method='best', expected one of"):
        make_separator("best")
