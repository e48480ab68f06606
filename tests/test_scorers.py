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
    bss_eval,
    make_separation_scorer,
    score_separation,
    si_bss_eval,
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


@pytest.fixture
def signals():
    """Reference, estimate and mixture, noisy so that all scores are defined."""
    rng = np.random.default_rng(0)
    y = rng.laplace(size=(2000, 3))
    noise = 0.1 * rng.standard_normal((2, 2000, 3))
    mixing = [[1, 0.5, 0], [0.6, 1, 0.2], [0.3, 0.1, 1]]
    return y, (y + noise[0])[:, [2, 0, 1]], y @ mixing + noise[1]


def test_scores_by_name(signals):
    y, separated, X = signals
    si = si_bss_eval(y, separated, mixture=X, ref_mic=1)
    bss = bss_eval(y, separated, mixture=X, ref_mic=1)
    names = [
        "sar",
        "sdr_improvement",
        "si_sar",
        "si_sdr",
        "si_sdr_improvement",
        "si_sir_improvement",
        "sir",
        "sir_improvement",
    ]
    scores = score_separation(y, separated, metrics=names, mixture=X, ref_mic=1)
    assert set(scores) == {*names, "permutation"}
    for name in scores:
        expected = si[name] if name in si else bss[name]
        np.testing.assert_allclose(scores[name], expected, atol=1e-8)
    assert set(score_separation(y, separated)) == {
        "permutation",
        "si_sdr",
        "si_sir",
        "si_sar",
    }


def test_all_scores_have_one_permutation():
    # The first estimate has the least interference of source 0, and much noise: by SIR
    # alone it would be that of source 0.
    rng = np.random.default_rng(0)
    y, noise = rng.standard_normal((2, 40_000, 2))
    separated = np.column_stack(
        [y @ [1, 0.3] + 3 * noise[:, 0], y @ [1, 0.5] + 0.1 * noise[:, 1]]
    )
    scores = score_separation(y, separated, metrics=["si_sdr", "si_sir", "sir"])
    assert (bss_eval(y, separated).permutation != scores.permutation).any()
    given = bss_eval(y, separated[:, scores.permutation], permute=False)
    np.testing.assert_allclose(scores.sir, given.sir, atol=1e-9)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["si_sdri"], r"unknown metric 'si_sdri'. Did you mean 'si_sd"),
        (["pesq"], "unknown metric 'pesq'. Expected one of sar, sdr, "),
        ("SI-SDR", "unknown metric 'SI-SDR'"),
        (["si_sar_improvement"], "unknown metric 'si_sar_improvement'. Did you mean"),
        ([], "expected one or more"),
        (["sdr", "sdr"], "each once"),
    ],
)
def test_metrics_that_do_not_exist(metrics, message, signals):
    with pytest.raises(ValueError, match=message):
        make_separation_scorer(metrics)
    if isinstance(metrics, list):
        with pytest.raises(ValueError, match=message):
            score_separation(*signals[:2], metrics=metrics)


def test_improvements_need_the_mixture(signals):
    with pytest.raises(ValueError, match=r"no mixture, .*'sir_improvement' needs"):
        score_separation(*signals[:2], metrics=["sdr", "sir_improvement"])


def test_warnings_are_of_what_was_asked_for(signals):
    y, separated, _ = signals
    with pytest.warns(UndefinedMetricWarning) as record:
        scores = score_separation(
            y, separated, mixture=y[:, [1]], metrics=["si_sir_improvement"]
        )
    (warning,) = record
    assert str(warning.message).startswith("The mixture has no interference")
    assert warning.filename == __file__
    np.testing.assert_array_equal(
        np.isnan(scores.si_sir_improvement), [False, True, False]
    )


def test_scorer_of_several_metrics(recordings):
    X, y = recordings
    metrics = ["si_sdr", "si_sir", "si_sdr_improvement"]
    scorer = pickle.loads(pickle.dumps(make_separation_scorer(metrics, ref_mic=1)))
    each = EachRecording(ICA).fit(X)
    scores = scorer(each, X, y)
    assert {type(score) for score in scores.values()} == {float}
    separated = each.transform(X)
    for name in metrics:
        expected = [
            score_separation(*pair[:2], mixture=pair[2], metrics=[name], ref_mic=1)
            for pair in zip(y, separated, X, strict=True)
        ]
        np.testing.assert_allclose(scores[name], np.mean([e[name] for e in expected]))
    # one recording, not in a list, and one name, not in a list
    ica = FastICA(random_state=0).fit(X[0])
    single = scorer(ica, X[0], y[0])
    for name in metrics:
        score = make_separation_scorer(name, ref_mic=1)(ica, X[0], y[0])
        assert type(score) is float
        assert score == single[name]
    assert make_separation_scorer("si_sdr")(ica, X[0], y[0]) == si_sdr_scorer(
        ica, X[0], y[0]
    )


def test_grid_search_by_several_metrics_separates_once(recordings):
    calls = []

    def separate(X):
        calls.append(len(X))
        return X

    X, y = recordings
    scoring = make_separation_scorer(("si_sdr", "si_sar", "si_sdr_improvement"))
    cross_validate(
        EachRecording(FunctionTransformer(separate)), X, y, cv=3, scoring=scoring
    )
    assert sorted(calls) == sorted(map(len, X))
    grid = {"estimator": [PCA(), ICA]}
    searches = [
        GridSearchCV(
            EachRecording(ICA), grid, scoring=scoring, refit="si_sdr", cv=3, n_jobs=n
        ).fit(X, y)
        for n in (1, 2)
    ]
    for search in searches:
        assert search.best_params_ == {"estimator": ICA}
        # the scorer gives what the ready-made ones do
        for name, other in [
            ("si_sdr", si_sdr_scorer),
            ("si_sdr_improvement", si_sdr_improvement_scorer),
        ]:
            expected = cross_val_score(EachRecording(ICA), X, y, cv=3, scoring=other)
            np.testing.assert_allclose(
                search.cv_results_[f"mean_test_{name}"][1], expected.mean()
            )
        assert (search.cv_results_["mean_test_si_sar"] > 25).all()


def test_scorers_leave_out_what_is_undefined_by_metric(recordings):
    mixtures, references = recordings
    references = [y.copy() for y in references]
    references[0][:, 1] = 0
    mixtures = [mixtures[0] + references[0][:, [0, 0]], *mixtures[1:]]
    mixtures[0][:, 0] = references[0][:, 0]  # nothing to improve there
    scorer = make_separation_scorer(["si_sdr", "si_sdr_improvement"])
    each = EachRecording(ICA)
    with (
        pytest.warns(UndefinedMetricWarning, match=r"silent.*\[1\]"),
        pytest.warns(UndefinedMetricWarning, match=r"mixture equals.*\[0\]"),
    ):
        scores = scorer(each, mixtures, references)
    separated = each.transform(mixtures)
    with pytest.warns(UndefinedMetricWarning, match="silent"):
        means = [
            np.nanmean(si_sdr(*pair))
            for pair in zip(references, separated, strict=True)
        ]
    np.testing.assert_allclose(scores["si_sdr"], np.mean(means))
    rest = scorer(each, mixtures[1:], references[1:])
    np.testing.assert_allclose(scores["si_sdr_improvement"], rest["si_sdr_improvement"])
    with pytest.warns(UndefinedMetricWarning, match="silent|equals"):
        alone = scorer(each, mixtures[:1], references[:1])
    assert np.isnan(alone["si_sdr_improvement"])
    assert np.isfinite(alone["si_sdr"])


def test_scorers_align_and_check_on_request():
    X, y = make_mixture()
    late = np.vstack([np.zeros((1006, 2)), y])
    ica = FastICA(random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"Got 13006 samples of reference, .*truncate"):
        make_separation_scorer()(ica, X, late)
    scorer = make_separation_scorer("si_sdr", truncate=True, check_delay=True)
    with pytest.warns(UserWarning, match="leads reference . by 1006 samples"):
        assert scorer(ica, X, late) < 0
    assert scorer(ica, X, y[:-100]) > 25
