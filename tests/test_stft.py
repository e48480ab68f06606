import pickle
import tracemalloc
from dataclasses import replace

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import ShortTimeFFT, get_window
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbss import Spectrogram, make_separator
from skbss.transforms import ISTFT, STFT
from skbss.transforms.frames import short_time_fft


def expected_failed_checks(estimator):
    frames = "frames are no samples: there are more or fewer of them"
    convolves = "it convolves, so a frame depends on neighboring samples"
    stateless = "a pipeline of steps that need no fit needs none either"
    steps = "Pipeline changes its `steps`, as scikit-learn's own list says"
    if isinstance(estimator, STFT):
        return {
            "check_transformer_data_not_an_array": frames,
            "check_transformer_general": frames,
            "check_transformers_unfitted_stateless": frames,
            "check_methods_sample_order_invariance": convolves,
            "check_methods_subset_invariance": convolves,
        }
    if isinstance(estimator, Pipeline):
        return {
            "check_dont_overwrite_parameters": steps,
            "check_estimators_overwrite_params": steps,
            "check_transformers_unfitted": stateless,
            "check_fit_check_is_fitted": stateless,
        }
    return {}


@parametrize_with_checks(
    [STFT(n_fft=5), make_pipeline(STFT(n_fft=16), ISTFT()), ISTFT()],
    expected_failed_checks=expected_failed_checks,
)
def test_common_checks(estimator, check):
    check(estimator)


def signal(n_samples=1000, n_channels=2, dtype=np.float64):
    rng = np.random.default_rng(n_samples)
    return rng.normal(size=(n_samples, n_channels)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "window", "n_samples"),
    [
        (512, 128, "hann", 16000),
        (512, 128, "hann", 15873),  # scipy has no frame that only a zero weight reaches
        (512, 200, ("kaiser", 8.0), 3000),  # hop divides nothing
        (255, 64, "hamming", 1001),  # odd window
        (255, 255, "boxcar", 1001),  # no overlap
        (256, 255, np.hanning(256) + 0.1, 129),  # symmetric array, short signal
        (64, 1, "blackman", 32),  # every sample a frame, shortest that scipy takes
        (1, 1, "boxcar", 7),
    ],
)
def test_equals_scipy(n_fft, hop_length, window, n_samples, dtype):
    x = signal(n_samples, 3, dtype)
    S = STFT(n_fft, hop_length=hop_length, window=window).fit_transform(x)
    win = window if isinstance(window, np.ndarray) else get_window(window, n_fft)
    sft = ShortTimeFFT(win, hop_length, fs=1.0, scale_to=None, phase_shift=None)
    expected = sft.stft(x, axis=0).transpose(2, 0, 1)
    # Rounding of an FFT grows with log2(n_fft) <= 9, relative to the largest value.
    tol = 10 * np.finfo(dtype).eps
    assert S.shape == expected.shape
    assert_allclose(S.data, expected, rtol=0, atol=tol * abs(expected).max())

    changed = np.exp(1j * S.data.real) * S.data
    y = ISTFT().fit_transform(replace(S, data=changed))
    expected = sft.istft(changed.T, k1=n_samples).T
    # istft sums over overlapping frames, and the dual window may exceed 1.
    gain = 1 + abs(sft.dual_win).max() * n_fft / hop_length
    assert y.shape == expected.shape == x.shape
    assert_allclose(y, expected, rtol=0, atol=tol * gain * abs(expected).max())


@pytest.mark.parametrize("n_samples", [1, 2, 100, 511, 512, 513, 5000])
@pytest.mark.parametrize("n_fft", [511, 512])
@pytest.mark.parametrize(
    ("dtype", "tol"), [(np.float64, 2e-15), (np.float32, 1e-6)]
)  # a few roundings of values up to 4, at the ends as everywhere
def test_reconstructs_every_sample(n_samples, n_fft, dtype, tol):
    x = signal(n_samples, 1, dtype)
    y = make_pipeline(STFT(n_fft), ISTFT()).fit_transform(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert_allclose(y, x, rtol=0, atol=tol)


@given(
    n_fft=st.integers(1, 40),
    hop_length=st.integers(1, 45),
    window=st.sampled_from(["hann", "boxcar", "cosine", ("tukey", 0.3), "random"]),
    n_samples=st.integers(1, 120),
    n_channels=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_reconstructs_or_says_why(n_fft, hop_length, window, n_samples, n_channels):
    if window == "random":
        window = np.random.default_rng(n_fft).uniform(size=n_fft)
    pipeline = make_pipeline(STFT(n_fft, hop_length=hop_length, window=window), ISTFT())
    x = signal(n_samples, n_channels)
    win = window if isinstance(window, np.ndarray) else get_window(window, n_fft)
    # Sample i has a weight in some frame if the window isn't zero at i + k * hop_length
    covered = hop_length <= n_fft and all(
        (win[i::hop_length] ** 2).sum() > 1e-13 for i in range(hop_length)
    )
    if not covered:
        with pytest.raises(ValueError, match="isn't invertible"):
            pipeline.fit(x)
        return
    y = pipeline.fit_transform(x)
    # Weak samples are raised by as much as the dual window is large.
    gain = abs(short_time_fft(n_fft, hop_length, window).dual_win).max()
    assert y.shape == x.shape
    assert_allclose(y, x, rtol=0, atol=1e-13 * (1 + gain))


def test_not_invertible():
    stft = STFT(256, hop_length=300)
    message = "window='hann', hop_length=300, n_fft=256"
    with pytest.raises(ValueError, match=message):
        stft.fit(signal())
    with pytest.raises(ValueError, match=message):
        stft.transform(signal())
    with pytest.raises(ValueError, match=r"window=array of shape \(256,\), hop_length"):
        STFT(256, window=np.arange(256) > 200).fit(signal())


def test_invertible_depends_on_precision():
    # The squares of this window sum to 2e-8 of their maximum at the worst sample: less
    # than single precision resolves
    stft = STFT(256, hop_length=255)
    x = signal()
    assert_allclose(ISTFT().fit_transform(stft.fit_transform(x)), x, atol=1e-10)
    with pytest.raises(ValueError, match="hop_length=255"):
        stft.fit(x.astype(np.float32))


def test_hop_length_follows_n_fft():
    stft = STFT().set_params(n_fft=128)
    assert clone(stft).fit_transform(signal()).stft_params["hop_length"] == 32
    assert stft.hop_length is None
    assert STFT(n_fft=2).fit_transform(signal()).stft_params["hop_length"] == 1


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8])
def test_integers_are_samples_of_files(dtype):
    x = 0.9 * signal() / abs(signal()).max()
    full, middle = np.iinfo(dtype).max, (dtype == np.uint8) * 128
    full = full / 2 if middle else full
    samples = np.round(full * x + middle).astype(dtype)
    back = make_pipeline(STFT(64), ISTFT()).fit_transform(samples)
    assert back.dtype == float
    assert_allclose(back, x, atol=2 / full)


@pytest.mark.parametrize("dtype", [np.float16, bool])
def test_other_numbers_become_float64(dtype):
    x = (100 * signal()).astype(dtype)
    S = STFT(64).fit_transform(x)
    assert S.data.dtype == np.complex128
    assert_array_equal(S.data, STFT(64).fit_transform(x.astype(float)).data)


@pytest.mark.parametrize("n_fft", [64, 65])
def test_imaginary_parts_of_real_bins_are_ignored(n_fft):
    S = STFT(n_fft).fit_transform(signal())
    data = S.data.copy()
    data[:, 0] += 1e-3j
    if n_fft % 2 == 0:
        data[:, -1] += 1e-3j
    y = ISTFT().fit_transform(replace(S, data=data))
    assert y.dtype == np.float64
    assert_array_equal(y, ISTFT().fit_transform(S))


def test_memory_layout_does_not_matter():
    x = signal(3000, 4)
    expected = STFT(64).fit_transform(x)
    x.flags.writeable = False
    spaced = np.repeat(x, 2, axis=0)[::2]
    for same in (x, np.asfortranarray(x), spaced, x.tolist()):
        S = STFT(64).fit_transform(same)
        assert S.data.flags.c_contiguous
        assert_array_equal(S.data, expected.data)


def test_inputs_are_not_changed():
    x = signal()
    x_before = x.copy()
    S = STFT(64).fit_transform(x)
    data_before = S.data.copy()
    y = ISTFT().fit_transform(S)
    y[:] = 0
    assert_array_equal(x, x_before)
    assert_array_equal(S.data, data_before)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(1000), r"1-D signal of 1000 samples.*\(n_samples, 1\)"),
        ([0.0, 1.0], r"\(n_samples, 1\)"),
        (np.ones((10, 2, 2)), "expected one recording"),
        (np.ones((0, 2)), "0 sample"),
        (np.ones((10, 0)), "0 feature"),
        (np.full((10, 2), np.nan), "NaN"),
        (np.full((10, 2), np.inf), "infinity"),
        (np.ones((10, 2), complex), "Complex data"),
    ],
)
def test_refuses_signals(x, message):
    for method in (STFT(64).fit, STFT(64).transform):
        with pytest.raises(ValueError, match=message):
            method(x)


def test_channels_must_match_fit():
    stft = STFT(64).fit(signal())
    with pytest.raises(ValueError, match="X has 3 features, but STFT is expecting 2"):
        stft.transform(signal(n_channels=3))
    istft = ISTFT().fit(stft.transform(signal()))
    with pytest.raises(ValueError, match="X has 3 features, but ISTFT is expecting 2"):
        istft.transform(STFT(64).transform(signal(n_channels=3)))
    for estimator in (stft, make_pipeline(stft, istft)):  # while fit starts anew
        estimator.fit(signal(n_channels=3))
        assert estimator.n_features_in_ == 3
    assert istft.n_features_in_ == 3


def test_warns_of_transposed_signal():
    with pytest.warns(UserWarning, match="100 channels"):
        STFT(4).fit(signal(100).T)
    with pytest.raises(ValueError, match=r"500 channels.*Transpose it"):
        STFT(4).fit(signal(500).T)


def test_a_list_of_recordings_names_what_takes_one():
    for lengths in ((500, 400), (500, 500)):
        with pytest.raises(ValueError, match=r"list of 2 arrays.*EachRecording"):
            STFT(4).fit([signal(n) for n in lengths])


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a.wav", TypeError, "'a.wav'.*soundfile.read"),
        ((signal(), 16_000), ValueError, "tuple of an array and 16000.*sample_rate ="),
        (np.zeros((3, 99, 2)), ValueError, r"shape \(3, 99, 2\).*EachRecording"),
        (
            np.zeros((3, 99, 2), complex),
            ValueError,
            "A spectrogram goes to a separator",
        ),
    ],
)
def test_what_isnt_a_recording_is_told_where_to_go(X, error, message):
    for estimator in (STFT(4), make_separator("auxiva")):
        with pytest.raises(error, match=message):
            estimator.fit(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window": "hannn"}, "window='hannn'.*get_window"),
        ({"window": "kaiser"}, "window='kaiser'.*get_window"),
        ({"window": ("kaiser",)}, "get_window"),
        ({"window": ("kaiser", "x")}, "get_window"),
        ({"window": np.ones(63)}, r"shape \(63,\), expected \(n_fft,\) = \(64,\)"),
        ({"window": np.full(64, 1j)}, "Complex"),
        ({"window": np.full(64, np.nan)}, "window contains NaN"),
        ({"window": 3.0}, "'window' parameter"),
        ({"n_fft": 0}, "'n_fft' parameter"),
        ({"n_fft": 64.5}, "'n_fft' parameter"),
        ({"hop_length": 0}, "'hop_length' parameter"),
        ({"sample_rate": -1}, "'sample_rate' parameter"),
    ],
)
def test_refuses_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        STFT(**{"n_fft": 64} | params).fit(signal())


def test_istft_refuses_what_lost_its_context():
    S = STFT(64).fit_transform(signal())
    for bare in (S.data, S.data.tolist(), np.asarray(S)):
        for method in (ISTFT().fit, ISTFT().transform):
            with pytest.raises(TypeError, match=r"needs the Spectrogram.*np\.asarray"):
                method(bare)


def test_istft_refuses_broken_spectrograms():
    S = STFT(64).fit_transform(signal())
    nan = S.data.copy()
    nan[3, 2, 1] = np.nan
    for data, message in [
        (S.data[1:], r"65 frames and 33 .* have 66 and 33"),
        (S.data[:, 1:], r"66 frames and 32 .* have 66 and 33"),
        (nan, "NaN or infinity"),
        (abs(S.data), "float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            ISTFT().fit_transform(replace(S, data=data))


def test_works_unfitted_and_pickled():
    x = signal()
    S = pickle.loads(pickle.dumps(STFT(64))).transform(x)
    y = ISTFT().transform(pickle.loads(pickle.dumps(S)))
    assert_allclose(y, x, atol=1e-14)  # rounding
    for estimator in (STFT(), ISTFT()):
        assert not estimator.__sklearn_tags__().requires_fit


def test_record_describes_the_transform():
    S = STFT(64, window=("tukey", 0.5), sample_rate=16000).fit_transform(signal())
    assert S.n_samples == 1000
    assert S.mixing is None
    assert S.stft_params == {
        "n_fft": 64,
        "hop_length": 16,
        "window": ("tukey", 0.5),
        "sample_rate": 16000,
    }


def test_equal_records_have_equal_hashes():
    x = signal()
    window = get_window("hann", 64)
    expected = joblib.hash(STFT(64, window=window, hop_length=16).fit_transform(x))
    for n_fft, win in [(np.int64(64), window.copy()), (64, window.tolist())]:
        S = STFT(n_fft, window=win, hop_length=np.int32(16)).fit_transform(x)
        assert joblib.hash(S) == expected
    for other in (STFT(64, window=window, hop_length=8), STFT(64, hop_length=16)):
        assert joblib.hash(other.fit_transform(x)) != expected


def test_record_keeps_the_window_by_value():
    x = signal()
    window = get_window("hann", 64)
    S = STFT(64, window=window).fit_transform(x)
    window[:] = 1
    assert_allclose(ISTFT().fit_transform(S), x, atol=1e-14)  # rounding


class Halve(TransformerMixin, BaseEstimator):
    """Keeps the record, and counts how often it is fitted."""

    n_fits = 0

    def fit(self, X, y=None):
        Halve.n_fits += 1
        return self

    def transform(self, X):
        return replace(X, data=X.data / 2)


def test_pipeline_cache_is_hit(tmp_path):
    x = signal()
    Halve.n_fits = 0
    pipeline = make_pipeline(STFT(64), Halve(), ISTFT(), memory=str(tmp_path))
    for _ in range(2):
        assert_allclose(pipeline.fit_transform(x), x / 2, atol=1e-14)  # rounding
    assert Halve.n_fits == 1
    pipeline.set_params(stft__n_fft=128).fit_transform(x)
    assert Halve.n_fits == 2


def test_set_output_leaves_records():
    x = signal()
    stft = STFT(64)
    assert stft.set_output(transform="pandas") is stft
    assert isinstance(stft.fit_transform(x), Spectrogram)
    with config_context(transform_output="pandas"):
        S = STFT(64).fit(x).transform(x)
    assert isinstance(S, Spectrogram)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_makes_tables(library):
    pytest.importorskip(library)
    x = signal()
    pipeline = make_pipeline(STFT(64), ISTFT()).set_output(transform=library)
    tables = [pipeline.fit_transform(x), pipeline.transform(x)]
    with config_context(transform_output=library):
        tables.append(make_pipeline(STFT(64), ISTFT()).fit_transform(x))
    for table in tables:
        assert type(table).__module__.startswith(library)
        assert list(table.columns) == ["source0", "source1"]
        assert_allclose(table.to_numpy(), x, atol=1e-14)  # rounding
    # and a table is a signal
    assert_allclose(pipeline.fit_transform(tables[0]).to_numpy(), x, atol=1e-14)


def test_feature_names():
    pipeline = make_pipeline(STFT(64), ISTFT()).fit(signal(n_channels=3))
    assert list(pipeline.get_feature_names_out()) == ["source0", "source1", "source2"]
    assert list(pipeline[0].get_feature_names_out()) == ["x0", "x1", "x2"]


def test_memory_is_little_more_than_the_output():
    x = signal(16000 * 30)
    stft, istft = STFT(4096), ISTFT()
    for transformer, X in [(stft, x), (istft, stft.fit_transform(x))]:
        tracemalloc.start()
        Y = transformer.fit_transform(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = getattr(Y, "data", Y).nbytes
        # Blocks and windows: some MB, whatever the length; of these 30 s, a tenth.
        assert peak < 1.1 * size + 2e6


# Windows that fit the recording


@pytest.mark.parametrize(
    ("n_samples", "n_fft"), [(10_240, 1024), (10_239, 512), (3000, 256), (10, 2)]
)
def test_windows_are_halved_until_there_are_enough_frames(n_samples, n_fft, rng):
    x = rng.normal(size=(n_samples, 2))
    stft = STFT(1024, min_frames=40).fit(x)
    assert stft.n_fft_ == n_fft
    assert stft.hop_length_ == max(1, n_fft // 4)
    S = stft.transform(x)
    expected = STFT(n_fft).fit_transform(x)
    np.testing.assert_array_equal(S.data, expected.data)
    assert S.stft_params == expected.stft_params
    # Later audio, however short, gets the same windows; without fit its own.
    assert stft.transform(x[:9]).stft_params["n_fft"] == n_fft
    assert STFT(1024, min_frames=40).transform(x).stft_params["n_fft"] == n_fft
    np.testing.assert_allclose(ISTFT().fit_transform(S), x, atol=1e-12)


def test_hops_are_halved_with_windows(rng):
    x = rng.normal(size=(1000, 1))
    stft = STFT(512, hop_length=200, min_frames=15).fit(x)
    assert (stft.n_fft_, stft.hop_length_) == (128, 50)
    stft = STFT(512, hop_length=200).fit(x)
    assert (stft.n_fft_, stft.hop_length_) == (512, 200)


def test_a_window_that_is_given_is_not_halved(rng):
    stft = STFT(4, window=np.ones(4), min_frames=3)
    with pytest.raises(ValueError, match="min_frames=3 and a window of 4 samples"):
        stft.fit(rng.normal(size=(100, 1)))
