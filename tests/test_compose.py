"""Test EachRecording."""

# License: BSD-3-Clause

import pickle

import numpy as np
import pytest
from joblib import Memory
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import FastICA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skbss import ILRMA, ISTFT, STFT, EachRecording, ProjectionBack, Spectrogram
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_scorer

ICA = FastICA(random_state=0)
MIXING = np.array([[1, 0.5], [0.6, 1]])


@pytest.fixture(scope="module")
def references():
    rng = np.random.default_rng(0)
    return [rng.laplace(size=(n, 2)) for n in (3000, 5000, 4000, 3000)]


@pytest.fixture(scope="module")
def mixtures(references):
    return [y @ MIXING for y in references]


def assert_same_lists(actual, desired):
    assert type(actual) is type(desired) is list
    for a, b in zip(actual, desired, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_recording_is_separated_on_its_own(mixtures, n_jobs):
    each = EachRecording(ICA, n_jobs=n_jobs)
    expected = [FastICA(random_state=0).fit_transform(X) for X in mixtures]
    assert each.fit(mixtures) is each
    assert_same_lists(each.transform(mixtures), expected)
    assert_same_lists(each.fit_transform(mixtures), expected)
    assert_same_lists(each.transform(mixtures[::-1]), expected[::-1])
    assert_same_lists(each.transform(tuple(mixtures)), expected)


def test_nothing_is_learned(mixtures):
    each = EachRecording(FastICA(random_state=0))
    check_is_fitted(each)
    before = dict(vars(each))
    each.fit_transform(mixtures)
    assert vars(each) == before
    with pytest.raises(NotFittedError):
        check_is_fitted(each.estimator)


def test_random_state_instances_draw_the_same_for_every_recording(mixtures):
    each = EachRecording(FastICA(random_state=np.random.RandomState(3)))
    first, again = each.transform([mixtures[0], mixtures[0]])
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(each.transform(mixtures[:1])[0], first)


def test_records_are_items_too():
    class Halve(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return Spectrogram(X.data / 2, X.stft_params, X.n_samples)

    records = [
        Spectrogram(np.full((n, 5, 2), 1 + 1j), {"n_fft": 8}, 2 * n) for n in (4, 7)
    ]
    halved = EachRecording(Halve()).fit_transform(records)
    assert [type(record) for record in halved] == [Spectrogram, Spectrogram]
    assert [record.n_samples for record in halved] == [8, 14]
    np.testing.assert_array_equal(halved[1].data, records[1].data / 2)


def test_clone_pickle_params_and_repr(mixtures):
    pipe = make_pipeline(StandardScaler(), FastICA(random_state=0))
    each = EachRecording(pipe, n_jobs=1)
    twin = clone(each).set_params(estimator__fastica__max_iter=7)
    assert twin.get_params()["estimator__fastica__max_iter"] == 7
    assert pipe["fastica"].max_iter == 200
    expected = each.transform(mixtures)
    assert_same_lists(pickle.loads(pickle.dumps(each)).transform(mixtures), expected)
    assert "FastICA" in repr(each)
    assert "StandardScaler" in each._repr_html_()
    with pytest.raises(ValueError, match="Invalid parameter 'n_bases'"):
        each.set_params(estimator__fastica__n_bases=2)


def test_tags():
    tags = get_tags(EachRecording(ICA))
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit
    assert tags.transformer_tags.preserves_dtype == []


@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones((9, 2)), TypeError, r"ndarray of shape \(9, 2\).*wrap it in a list"),
        ("abc", TypeError, "Got str, expected a list of recordings"),
        (None, TypeError, "Got NoneType, expected a list of recordings"),
        (np.zeros((2, 99, 2)), TypeError, r"become one by list\(X\)"),
        ([], ValueError, "empty list"),
        ([[0.1, 0.2], [0.3, 0.4]], ValueError, r"recording 0 of shape \(2,\)"),
        ([np.ones((9, 2)), np.ones(9)], ValueError, r"recording 1 of shape \(9,\)"),
    ],
)
def test_bad_lists(method, X, error, message):
    with pytest.raises(error, match=message):
        getattr(EachRecording(ICA), method)(X)


@pytest.mark.parametrize("parameters", [{"estimator": 3}, {"n_jobs": "two"}])
def test_bad_parameters(mixtures, parameters):
    each = EachRecording(ICA).set_params(**parameters)
    with pytest.raises(ValueError, match=f"'{next(iter(parameters))}' parameter"):
        each.fit(mixtures)


def test_an_estimator_that_does_not_transform(mixtures):
    with pytest.raises(ValueError, match="'estimator' parameter"):
        EachRecording(LinearRegression()).fit(mixtures)


def count_calls(X, log):
    with open(log, "a") as file:
        file.write(f"{len(X)}\n")
    return X


def test_grid_search_separates_each_recording_once_per_candidate(
    mixtures, references, tmp_path
):
    log = tmp_path / "log"
    pipe = make_pipeline(FunctionTransformer(count_calls, kw_args={"log": log}), ICA)
    search = GridSearchCV(
        EachRecording(pipe),
        {"estimator__fastica__fun": ["logcosh", "cube"]},
        scoring=si_sdr_scorer,
        cv=2,
    ).fit(mixtures, references)
    lengths = sorted(int(line) for line in log.read_text().split())
    assert lengths == sorted(2 * [len(X) for X in mixtures])
    assert search.best_score_ > 20
    # the search separates as its best estimator does
    assert_same_lists(
        search.transform(mixtures), search.best_estimator_.fit_transform(mixtures)
    )


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_cache_of_a_pipeline_serves_recordings_seen_before(
    mixtures, tmp_path, n_jobs
):
    log = tmp_path / "log"
    pipe = make_pipeline(
        FunctionTransformer(count_calls, kw_args={"log": log}),
        FastICA(random_state=0),
        StandardScaler(),
        memory=Memory(tmp_path / "cache", verbose=0),
    )
    first = EachRecording(pipe, n_jobs=n_jobs).transform(mixtures)
    n_calls = len(log.read_text().split())
    assert n_calls == len(mixtures)
    pipe.set_params(standardscaler__with_std=False)  # after what is cached
    second = EachRecording(pipe, n_jobs=n_jobs).transform([*mixtures])
    assert len(log.read_text().split()) == n_calls
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b / b.std(axis=0))


def test_separators(tmp_path):
    recordings = [
        make_convolutive_mixture(n, random_state=n) for n in (12_000, 16_000, 14_000)
    ]
    mixtures, references = map(list, zip(*recordings, strict=True))
    pipe = make_pipeline(
        STFT(1024),
        ILRMA(max_iter=10, random_state=0),
        ProjectionBack(),
        ISTFT(),
        memory=Memory(tmp_path, verbose=0),
    )
    grid = {
        "estimator__ilrma__n_basis": [1, 2],
        "estimator__stft__n_fft": [64, 1024],
    }
    search = GridSearchCV(EachRecording(pipe), grid, scoring=si_sdr_scorer, cv=3)
    search.fit(mixtures, references)
    assert search.best_params_["estimator__stft__n_fft"] == 1024
    assert search.best_score_ > 4
    separated = search.transform(mixtures)
    assert [y.shape for y in separated] == [y.shape for y in references]
    best = search.best_estimator_.estimator.set_params(memory=None)
    assert_same_lists(separated, [clone(best).fit_transform(X) for X in mixtures])


# Last, because joblib's workers start anew after an error.
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_error_names_the_recording(mixtures, n_jobs):
    bad = [*mixtures[:2], np.full((9, 2), np.nan), mixtures[3]]
    # pytest matches the notes of an exception too
    with pytest.raises(ValueError, match=r"contains NaN[\s\S]*recording 2, counted"):
        EachRecording(ICA, n_jobs=n_jobs).fit_transform(bad)
