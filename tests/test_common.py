"""The contract of scikit-learn: its common tests, and what its users take for granted.

The common tests feed real arrays of shape (n_samples, n_features). On estimators of
complex 3-D arrays scikit-learn skips nearly all of them: the classes `Lifted...` bring
them back. STFT, ISTFT and ProjectionBack run theirs in their own test files.
"""

# License: BSD-3-Clause

import pickle

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_array, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import skbss
from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    WPE,
    AlignChannels,
    AuxIVA,
    BlockBatch,
    CrosstalkCanceller,
    EachRecording,
    FullRankRefine,
    LoudestFirst,
    LoudestSources,
    MaskSeparator,
    NoiseReducer,
    OnlineAuxIVA,
    OnlineILRMA,
    OnlineISNMF,
    OnlineSeparator,
    OnlineWPE,
    ProjectionBack,
    RemixNoisyBins,
    ResampleChannels,
    SortFrequencies,
    SoundPipeline,
    Spectrogram,
    TargetFirst,
    WindowSearch,
)
from skbss.updates import IP2, Gauss

SEPARATORS = [
    AuxIVA(max_iter=3),
    ILRMA(max_iter=3, init_iter=3, random_state=0),
]


class Lift:
    """Take and return 2-D real arrays: frames of a single bin.

    Whether the input is such an array is checked here, what is in it by the separator.
    """

    def fit(self, X, y=None):
        return super().fit(self._lift(X))

    def transform(self, X):
        return super().transform(self._lift(X))[:, 0].real

    def _lift(self, X):
        dtypes = [np.float64, np.float32]
        X = check_array(X, dtype=dtypes, ensure_all_finite=False, estimator=self)
        return X[:, None].astype(np.result_type(X, np.complex64))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LiftedAuxIVA(Lift, AuxIVA):
    pass


class LiftedILRMA(Lift, ILRMA):
    pass


class LiftedSortFrequencies(Lift, SortFrequencies):
    pass


class LiftedCrosstalkCanceller(Lift, CrosstalkCanceller):
    pass


class LiftedNoiseReducer(Lift, NoiseReducer):
    pass


class LiftedRemixNoisyBins(Lift, RemixNoisyBins):
    pass


class LiftedMaskSeparator(Lift, MaskSeparator):
    pass


class LiftedWPE(Lift, WPE):
    def fit_transform(self, X, y=None):
        return super().fit_transform(self._lift(X))[:, 0].real

    def fit(self, X, y=None):
        self.fit_transform(X)
        return self


def pipe(separator, **params):
    return make_pipeline(STFT(n_fft=64), separator, ProjectionBack(), ISTFT(), **params)


def expected_failed_checks(estimator):
    if isinstance(estimator, CrosstalkCanceller | WPE):
        filters = "it filters over frames, so an output frame depends on others"
        return {
            "check_methods_sample_order_invariance": filters,
            "check_methods_subset_invariance": filters,
        }
    convolves = "it convolves, so an output sample depends on neighboring samples"
    if isinstance(estimator, BlockBatch):
        return {
            "check_methods_sample_order_invariance": convolves,
            "check_methods_subset_invariance": convolves,
        }
    if not isinstance(estimator, Pipeline):
        return {}
    steps = "Pipeline changes its `steps`, as scikit-learn's own list says"
    last = "Pipeline asks its last step only, and ISTFT needs no fit"
    return {
        "check_methods_sample_order_invariance": convolves,
        "check_methods_subset_invariance": convolves,
        "check_dont_overwrite_parameters": steps,
        "check_estimators_overwrite_params": steps,
        "check_fit_check_is_fitted": last,
    }


@pytest.mark.filterwarnings("ignore:Got a signal of shape:UserWarning")
@parametrize_with_checks(
    [
        LiftedAuxIVA(max_iter=3),
        LiftedILRMA(max_iter=3, init_iter=2),
        LiftedILRMA(max_iter=3, init="identity", update="me", spatial="iss2"),
        LiftedSortFrequencies(),
        LiftedCrosstalkCanceller(),
        LiftedNoiseReducer(),
        LiftedRemixNoisyBins(),
        LiftedWPE(),
        LiftedMaskSeparator(max_iter=3, time_iter=2),
        pipe(AuxIVA(max_iter=3)),
        EachRecording(pipe(AuxIVA(max_iter=3))),
        BlockBatch(pipe(AuxIVA(max_iter=3)), sample_rate=1000),
        *SEPARATORS,
        SortFrequencies(),
        CrosstalkCanceller(),
        NoiseReducer(),
        RemixNoisyBins(),
        WPE(),
        MaskSeparator(),
        FullRankRefine(),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_common_checks(estimator, check):
    check(estimator)


def test_all_estimators_are_covered_here_or_in_their_own_file():
    elsewhere = {STFT, ISTFT, ProjectionBack, LoudestFirst, TargetFirst}
    elsewhere |= {SortFrequencies, CrosstalkCanceller, LoudestSources, NoiseReducer}
    elsewhere |= {
        RemixNoisyBins,
        WPE,
        OnlineWPE,
        WindowSearch,
        MaskSeparator,
        FullRankRefine,
    }
    elsewhere |= {OnlineAuxIVA, OnlineILRMA, OnlineISNMF, OnlineSeparator}
    elsewhere |= {AlignChannels, ResampleChannels, SoundPipeline}
    here = {type(separator) for separator in SEPARATORS} | {EachRecording, BlockBatch}
    assert public_estimators() == here | elsewhere


def public_estimators():
    modules = [skbss, skbss.separators, skbss.transforms]
    objects = [getattr(module, name) for module in modules for name in module.__all__]
    return {c for c in objects if isinstance(c, type) and issubclass(c, BaseEstimator)}


@pytest.mark.parametrize("separator", SEPARATORS, ids=lambda s: type(s).__name__)
class TestEverySeparator:
    def test_clone_keeps_parameters_and_forgets_the_recording(self, separator, record):
        fitted = clone(separator).fit(record)
        twin = clone(fitted)
        assert repr(twin) == repr(separator)
        with pytest.raises(
            NotFittedError, match=f"{type(separator).__name__} instance"
        ):
            twin.transform(record)

    def test_pickle(self, separator, record):
        fitted = clone(separator).fit(record)
        expected = fitted.transform(record)
        again = pickle.loads(pickle.dumps(fitted)).transform(record)
        np.testing.assert_array_equal(again.data, expected.data)
        np.testing.assert_array_equal(again.mixing, expected.mixing)

    def test_pickled_pipeline(self, separator, recording):
        x, _ = recording
        fitted = pipe(clone(separator)).fit(x)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.transform(x), fitted.transform(x))

    def test_pipeline_that_is_not_fitted(self, separator, recording):
        with pytest.raises(
            NotFittedError, match=f"{type(separator).__name__} instance"
        ):
            pipe(clone(separator)).transform(recording[0])

    def test_html_repr(self, separator):
        for estimator in (separator, pipe(separator)):
            html = estimator._repr_mimebundle_()["text/html"]
            assert type(separator).__name__ in html
            assert "max_iter" in html
        assert f"{type(separator).__name__}(" in repr(pipe(separator))

    def test_set_output_is_accepted(self, separator, record):
        fitted = clone(separator).set_output(transform="pandas").fit(record)
        assert isinstance(fitted.transform(record), Spectrogram)
        assert isinstance(fitted.fit_transform(record.data), np.ndarray)
        with config_context(transform_output="pandas"):
            assert isinstance(fitted.transform(record), Spectrogram)

    def test_set_output_of_a_pipeline(self, separator, recording):
        pandas = pytest.importorskip("pandas")
        x, _ = recording
        expected = pipe(clone(separator)).fit_transform(x)
        table = pipe(clone(separator)).set_output(transform="pandas").fit_transform(x)
        assert isinstance(table, pandas.DataFrame)
        assert list(table.columns) == ["source0", "source1"]
        np.testing.assert_array_equal(table, expected)

    def test_names_of_the_outputs(self, separator, recording):
        fitted = pipe(clone(separator)).fit(recording[0])
        assert list(fitted.get_feature_names_out()) == ["source0", "source1"]
        assert list(fitted[:-1].get_feature_names_out()) == ["source0", "source1"]

    def test_tags(self, separator):
        tags = get_tags(separator)
        assert tags.input_tags.three_d_array
        assert not tags.input_tags.two_d_array
        assert tags.transformer_tags.preserves_dtype == ["complex64", "complex128"]

    def test_misspelt_parameters(self, separator):
        with pytest.raises(
            ValueError, match="Invalid parameter 'n_iter' for estimator"
        ):
            separator.set_params(n_iter=3)
        with pytest.raises(TypeError, match="unexpected keyword argument 'n_iter'"):
            type(separator)(n_iter=3)


class CountingGauss(Gauss):
    """A source model of a user's, with a parameter, that counts what it is asked."""

    def __init__(self, scale=1.0, log=None):
        self.scale = scale
        self.log = log

    def variance(self, power):
        if self.log:
            with open(self.log, "a") as file:
                file.write("x")
        return super().variance(power) * self.scale


def test_parameters_of_parts_are_parameters():
    pipeline = pipe(AuxIVA(CountingGauss(scale=3.0)))
    assert pipeline.get_params()["auxiva__source__scale"] == 3.0
    pipeline.set_params(auxiva__source__scale=2.0, auxiva__spatial=IP2())
    assert pipeline[1].source.scale == 2.0
    assert clone(pipeline)[1].source.scale == 2.0
    assert clone(pipeline)[1].source is not pipeline[1].source
    each = EachRecording(pipeline).set_params(estimator__auxiva__source__scale=1.5)
    assert pipeline[1].source.scale == 1.5
    assert each.get_params()["estimator__auxiva__source"] is pipeline[1].source


def test_memory_separates_once_for_all_that_comes_after(recording, tmp_path):
    x, _ = recording
    log = tmp_path / "log"
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    pipeline = pipe(AuxIVA(CountingGauss(log=str(log)), max_iter=3), memory=memory)
    cold = pipeline.fit_transform(x)
    n_asked = len(log.read_text())
    assert n_asked > 0
    assert len(memory.store_backend.get_items()) == 3  # all steps but the last
    np.testing.assert_array_equal(clone(pipeline).fit_transform(x.copy("K")), cold)
    assert len(memory.store_backend.get_items()) == 3
    other_mic = clone(pipeline).set_params(projectionback__ref_mic=1).fit_transform(x)
    assert len(log.read_text()) == n_asked
    assert len(memory.store_backend.get_items()) == 4
    # what came from the cache is right
    fresh = pipe(AuxIVA(max_iter=3)).set_params(projectionback__ref_mic=1)
    np.testing.assert_array_equal(other_mic, fresh.fit_transform(x))
    clone(pipeline).set_params(auxiva__max_iter=4).fit(x)
    assert len(log.read_text()) > n_asked
