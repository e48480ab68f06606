"""Model selection by scikit-learn's searches, over many recordings or over one."""

# License: BSD-3-Clause

from functools import partial

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, AuxIVA, EachRecording, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import (
    si_sdr,
    si_sdr_improvement,
    si_sdr_improvement_scorer,
    si_sdr_scorer,
)
from skbss.updates import Gauss

GRID = {"estimator__ilrma__n_basis": [1, 2], "estimator__stft__n_fft": [128, 512]}


@pytest.fixture(scope="module")
def recordings():
    """Three recordings of different lengths, rooms and sources."""
    pairs = [
        make_convolutive_mixture(n, sample_rate=8000, rt60=0.03, random_state=seed)
        for seed, n in enumerate([8000, 12_000, 10_000])
    ]
    mixtures, references = zip(*pairs, strict=True)
    return list(mixtures), list(references)


def ilrma_pipeline(memory=None):
    separator = ILRMA(max_iter=5, init_iter=5, random_state=0)
    steps = STFT(128), separator, ProjectionBack(), ISTFT()
    return make_pipeline(*steps, memory=memory)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_recordings_of_different_lengths(recordings, n_jobs):
    mixtures, references = recordings
    search = GridSearchCV(
        EachRecording(ilrma_pipeline()),
        GRID,
        scoring=si_sdr_scorer,
        n_jobs=n_jobs,
        cv=3,
    ).fit(mixtures, references)
    results = search.cv_results_
    # A fold of one recording scores what separating that one by hand does.
    for i, params in enumerate(results["params"]):
        leaves = {key.removeprefix("estimator__"): v for key, v in params.items()}
        for k, (x, y) in enumerate(zip(*recordings, strict=True)):
            separated = ilrma_pipeline().set_params(**leaves).fit_transform(x)
            expected = si_sdr(y, separated).mean()
            # Two processes may sum in another order.
            np.testing.assert_allclose(
                results[f"split{k}_test_score"][i], expected, rtol=1e-6
            )
    assert search.best_score_ == results["mean_test_score"].max()
    best = EachRecording(ilrma_pipeline()).set_params(**search.best_params_)
    for separated, expected in zip(
        search.transform(mixtures), best.fit_transform(mixtures), strict=True
    ):
        np.testing.assert_allclose(separated, expected, rtol=1e-9)


class LoggingGauss(Gauss):
    """The Gauss model, which logs the number of frames that it is asked about."""

    def __init__(self, log):
        self.log = log

    def variance(self, power):
        with open(self.log, "a") as file:
            file.write(f"{power.shape[2]}\n")
        return super().variance(power)


def total(log):
    """Count frames logged, over all iterations and recordings."""
    return sum(map(int, log.read_text().split()))


def test_with_memory_a_second_search_computes_nothing_anew(recordings, tmp_path):
    mixtures, references = recordings
    log = tmp_path / "log"
    log.touch()
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    separator = AuxIVA(LoggingGauss(str(log)), max_iter=3)
    steps = STFT(128), separator, ProjectionBack(), ISTFT()
    search = GridSearchCV(
        EachRecording(make_pipeline(*steps, memory=memory)),
        {
            "estimator__auxiva__max_iter": [2, 3],
            "estimator__projectionback__ref_mic": [0, 1],
        },
        scoring=si_sdr_scorer,
        cv=3,
    )
    first = clone(search).fit(mixtures, references)
    n_asked = total(log)
    # Both values of ref_mic share their separations: the initial state and each
    # iteration ask for variances, once for each frame.
    n_frames = sum(len(STFT(128).fit_transform(x)) for x in mixtures)
    assert n_asked == n_frames * ((1 + 2) + (1 + 3))
    n_items = len(memory.store_backend.get_items())
    # spectrograms; separations; projections
    assert n_items == len(mixtures) * (1 + 2 + 4)
    second = clone(search).fit(mixtures, references)
    assert total(log) == n_asked
    assert len(memory.store_backend.get_items()) == n_items
    np.testing.assert_array_equal(
        second.cv_results_["mean_test_score"], first.cv_results_["mean_test_score"]
    )
    # and a search that goes on from there computes what is new only
    search.set_params(param_grid={"estimator__auxiva__max_iter": [3, 4]})
    search.fit(mixtures, references)
    assert total(log) == n_asked + n_frames * (1 + 4)


def test_memory_is_shared_between_processes(recordings, tmp_path):
    mixtures, references = recordings
    log = tmp_path / "log"
    log.touch()
    separator = AuxIVA(LoggingGauss(str(log)), max_iter=3)
    steps = STFT(128), separator, ProjectionBack(), ISTFT()
    pipe = make_pipeline(*steps, memory=joblib.Memory(tmp_path / "cache", verbose=0))
    each = EachRecording(pipe)
    cross_val_score(each, mixtures, references, scoring=si_sdr_scorer, cv=3, n_jobs=2)
    n_asked = total(log)
    n_frames = sum(len(STFT(128).fit_transform(x)) for x in mixtures)
    assert n_asked == n_frames * (1 + 3)
    each.fit_transform([x.copy("K") for x in mixtures])
    assert total(log) == n_asked


def test_grid_search_over_one_recording_split_in_time():
    """The room is learned from one part, and the other part is separated."""
    x, y = make_convolutive_mixture(32_000, sample_rate=8000, random_state=2)
    steps = STFT(1024), AuxIVA(), ProjectionBack(), ISTFT()
    search = GridSearchCV(
        make_pipeline(*steps),
        {"auxiva__max_iter": [1, 30], "auxiva__source": ["gauss", "laplace"]},
        scoring=si_sdr_improvement_scorer,
        cv=KFold(2, shuffle=False),
    ).fit(x, y)
    assert search.best_params_["auxiva__max_iter"] == 30
    early, late = x[:16_000], x[16_000:]
    best = make_pipeline(*steps).set_params(**search.best_params_).fit(early)
    expected = si_sdr_improvement(y[16_000:], best.transform(late), late).mean()
    index = search.best_index_
    # The last fold is tested on the second half.
    np.testing.assert_allclose(
        search.cv_results_["split1_test_score"][index], expected, rtol=1e-9
    )
    # Matrices of the first half separate the second one, which they never saw.
    assert expected > 5


def test_several_scores_at_once(recordings):
    mixtures, references = recordings
    search = GridSearchCV(
        EachRecording(ilrma_pipeline()),
        {"estimator__ilrma__update": ["mm", "me"]},
        scoring={
            "si_sdr": si_sdr_scorer,
            "improvement": si_sdr_improvement_scorer,
            "at_mic_1": partial(si_sdr_improvement_scorer, ref_mic=1),
        },
        refit="improvement",
        cv=3,
    ).fit(mixtures, references)
    results = search.cv_results_
    for name in ("si_sdr", "improvement", "at_mic_1"):
        assert np.isfinite(results[f"mean_test_{name}"]).all()
    gain = results["mean_test_si_sdr"] - results["mean_test_improvement"]
    # What the mixtures score is the same for both candidates.
    np.testing.assert_allclose(gain[0], gain[1], rtol=1e-9)


def test_a_failing_candidate_does_not_end_the_search(recordings):
    mixtures, references = recordings
    search = GridSearchCV(
        EachRecording(ilrma_pipeline()),
        {"estimator__projectionback__ref_mic": [0, 5]},
        scoring=si_sdr_scorer,
        cv=3,
    )
    with (
        pytest.warns(UserWarning, match="Got ref_mic=5, but the recording has 2"),
        pytest.warns(UserWarning, match="test scores are non-finite"),
    ):
        search.fit(mixtures, references)
    assert search.best_params_ == {"estimator__projectionback__ref_mic": 0}
