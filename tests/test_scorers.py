"""Test the scorers in scikit-learn's model selection."""

# License: BSD-3-Clause

import pickle
from functools import partial

import numpy as np
import pytest
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skbss import ISTFT, STFT, AuxIVA, EachRecording, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import (
    si_sdr,
    si_sdr_improvement,
    si_sdr_improvement_scorer,
    si_sdr_scorer,
)

# FastICA truly separates mixtures without delays.
ICA = FastICA(random_state=0)
MIXING = np.array([[1, 0.5], [0.6, 1]])


def make_mixture(n_samples=12000, seed=0):
    y = np.random.default_rng(seed).laplace(size=(n_samples, 2))
    return y @ MIXING, y


@pytest.fixture(scope="module")
def recordings():
    mixtures, references = zip(
        *(make_mixture(n, seed) for seed, n in enumerate((12000, 8000, 10000))),
        strict=True,
    )
    return list(mixtures), list(references)


def test_one_recording():
    X, y = make_mixture()
    ica = FastICA(random_state=0).fit(X)
    separated = ica.transform(X)
    assert si_sdr_scorer(ica, X, y) == si_sdr(y, separated).mean() > 25
    improvement = si_sdr_improvement_scorer(ica, X, y)
    assert type(improvement) is float
    assert improvement == si_sdr_improvement(y, separated, X).mean() > 20


def test_transform_is_what_is_scored():
    # a model of the wrong room separates badly, where fitting anew would do well
    X, y = make_mixture()
    other_room = FastICA(random_state=0).fit(y @ [[1, -0.9], [0.8, 1]])
    assert si_sdr_scorer(other_room, X, y) < 10
    assert si_sdr(y, FastICA(random_state=0).fit_transform(X)).mean() > 25


def test_each_recording_weighs_the_same(recordings):
    X, y = recordings
    # three references here, two there
    X = [X[0], np.column_stack([X[1], y[1] @ [1, 2]])]
    y = [y[0], np.column_stack([y[1], y[1][::-1, 0]])]
    same = EachRecording(FunctionTransformer())
    y[0] = y[0] + 0.1 * X[0]
    means = [si_sdr(*pair).mean() for pair in zip(y, X, strict=True)]
    assert abs(means[0] - means[1]) > 5
    np.testing.assert_allclose(si_sdr_scorer(same, X, y), np.mean(means))
    assert si_sdr_scorer(same, tuple(X), tuple(y)) == si_sdr_scorer(same, X, y)


def test_ref_mic():
    X, y = make_mixture()
    ica = FastICA(random_state=0).fit(X)
    scorer = pickle.loads(pickle.dumps(partial(si_sdr_improvement_scorer, ref_mic=1)))
    expected = si_sdr_improvement(y, ica.transform(X), X, ref_mic=1).mean()
    assert scorer(ica, X, y) == expected
    assert si_sdr_improvement_scorer(ica, X, y) != expected
    with pytest.raises(ValueError, match="ref_mic=2, but the recording has 2"):
        si_sdr_improvement_scorer(ica, X, y, ref_mic=2)


@pytest.mark.parametrize("cv", [KFold(3), TimeSeriesSplit(3)])
def test_grid_search_over_one_recording_split_in_time(cv):
    X, y = make_mixture()
    pipe = make_pipeline(StandardScaler(), FastICA(random_state=0))
    search = GridSearchCV(
        pipe, {"fastica": [PCA(), ICA]}, scoring=si_sdr_scorer, cv=cv
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    # principal components of such a mixture are its sum and difference
    assert scores[0] < 10
    assert scores[1] > 25
    assert isinstance(search.best_estimator_["fastica"], FastICA)
    assert search.score(X, y) > 25
    # every fold is scored with the demixing that was learned on the others
    train, test = next(iter(cv.split(X)))
    separated = pipe.set_params(fastica=ICA).fit(X[train]).transform(X[test])
    np.testing.assert_allclose(
        search.cv_results_["split0_test_score"][1], si_sdr(y[test], separated).mean()
    )


def test_grid_search_over_one_reverberant_recording_split_in_time():
    X, y = make_convolutive_mixture(n_samples=48_000, random_state=0)
    pipe = make_pipeline(STFT(), AuxIVA(max_iter=20), ProjectionBack(), ISTFT())
    search = GridSearchCV(
        pipe,
        {"stft__n_fft": [32, 1024]},
        scoring=si_sdr_improvement_scorer,
        cv=KFold(2),
        error_score="raise",
    ).fit(X, y)
    # a window of 2 ms is shorter than the reverberation
    assert search.best_params_ == {"stft__n_fft": 1024}
    short, long = search.cv_results_["mean_test_score"]
    assert short < 4 < long


def test_grid_search_over_recordings(recordings):
    search = GridSearchCV(
        EachRecording(FastICA(random_state=0)),
        {"estimator__max_iter": [1, 200]},
        scoring=si_sdr_improvement_scorer,
        cv=3,
    )
    with pytest.warns(ConvergenceWarning):  # in the candidate of one iteration
        search.fit(*recordings)
    results = search.cv_results_
    assert search.best_params_ == {"estimator__max_iter": 200}
    for fold, (mixture, reference) in enumerate(zip(*recordings, strict=True)):
        separated = FastICA(random_state=0).fit_transform(mixture)
        np.testing.assert_allclose(
            results[f"split{fold}_test_score"][1],
            si_sdr_improvement(reference, separated, mixture).mean(),
        )
    search.set_params(n_jobs=2).fit(*recordings)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], results["mean_test_score"]
    )


def test_several_scores_at_once(recordings):
    results = cross_validate(
        EachRecording(ICA),
        *recordings,
        cv=3,
        scoring={"score": si_sdr_scorer, "gain": si_sdr_improvement_scorer},
    )
    assert (results["test_score"] > 25).all()
    difference = results["test_score"] - results["test_gain"]
    expected = [
        si_sdr(y, X[:, [0, 0]], permute=False).mean()
        for X, y in zip(*recordings, strict=True)
    ]
    np.testing.assert_allclose(difference, expected)


def test_silent_references_are_left_out(recordings):
    mixtures, references = recordings
    references = [y.copy() for y in references]
    references[0][:] = 0
    references[1][:, 1] = 0
    each = EachRecording(ICA)
    with pytest.warns(UndefinedMetricWarning, match="silent"):
        score = si_sdr_scorer(each, mixtures, references)
    separated = each.transform(mixtures)
    expected = [
        si_sdr(references[1][:, :1], separated[1])[0],
        si_sdr(references[2], separated[2]).mean(),
    ]
    np.testing.assert_allclose(score, np.mean(expected))
    for scorer in (si_sdr_scorer, si_sdr_improvement_scorer):
        with pytest.warns(UndefinedMetricWarning, match="silent"):
            assert np.isnan(scorer(each, mixtures[:1], references[:1]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_a_source_that_pauses_for_a_fold():
    _, y = make_mixture()
    y[8000:, 1] = 0
    X = y @ MIXING
    # in the last fold one source is silent, and the mixture equals the other
    for scoring, what in [
        (si_sdr_scorer, "silent"),
        (si_sdr_improvement_scorer, "mixture equals"),
    ]:
        with pytest.warns(UndefinedMetricWarning, match=what):
            scores = cross_val_score(
                ICA, X, y, cv=KFold(3), scoring=scoring, error_score="raise"
            )
        assert (scores[:2] > 15).all()
        assert np.isnan(scores[2]) == (scoring is si_sdr_improvement_scorer)


def test_a_silent_output_ranks_last_and_stays_finite(recordings):
    silence = FunctionTransformer(np.zeros_like)
    search = GridSearchCV(
        EachRecording(ICA),
        {"estimator": [silence, ICA]},
        scoring=si_sdr_improvement_scorer,
        cv=3,
    ).fit(*recordings)
    scores = search.cv_results_["mean_test_score"]
    assert -310 < scores[0] < -290
    assert scores[1] > 20
    assert search.best_index_ == 1


def test_lists_that_do_not_match(recordings):
    mixtures, references = recordings
    each = EachRecording(ICA)
    with pytest.raises(ValueError, match="Got 2 references of 3 recordings"):
        si_sdr_scorer(each, mixtures, references[:2])
    stacked = [X[:100] for X in mixtures]
    flatten = FunctionTransformer(np.vstack)
    with pytest.raises(TypeError, match=r"list of references, but ndarray .*EachRec"):
        si_sdr_scorer(flatten, stacked, references)
    with pytest.raises(TypeError, match=r"wrap it in a list: \[X\]"):
        si_sdr_scorer(each, mixtures[0], references[0])
    swapped = [references[1], references[0], references[2]]
    with pytest.raises(ValueError, match=r"Got 8000 [\s\S]*raised by recording 0"):
        si_sdr_scorer(each, mixtures, swapped)
