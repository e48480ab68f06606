"""Whatever comes in, what goes out is finite, or a clear error was raised first."""

# License: BSD-3-Clause

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    AuxIVA,
    ProjectionBack,
    Spectrogram,
    make_separator,
)
from skbss.datasets import make_convolutive_mixture
from skbss.sound_pipeline import RecordingWarning

# Overflows and invalid values are warnings of numpy, and errors here.
pytestmark = pytest.mark.filterwarnings("error")

N_FFT = 32
STATES = {"random_state": 0, "init_iter": 5}
# Every source model and every spatial update: updates know no more of a model than the
# covariances that it weighs, and models no more of an update than the outputs.
SEPARATORS = [
    AuxIVA(spatial="iss1", max_iter=10),
    AuxIVA("laplace", spatial="iss2", max_iter=10),
    AuxIVA(sort_iter=2, max_iter=10),
    AuxIVA("cliques", max_iter=10),
    ILRMA(spatial="ip2", max_iter=10, **STATES),
    ILRMA(update="me", max_iter=10, **STATES),
    ILRMA(5, init="identity", max_iter=10, random_state=0),
]
FEW = [
    AuxIVA(max_iter=10),
    AuxIVA("laplace", spatial="iss2", max_iter=10),
    ILRMA(max_iter=10, **STATES),
    ILRMA(update="me", spatial="ip2", max_iter=10, **STATES),
    AuxIVA("cliques", max_iter=10),
]
every_separator = pytest.mark.parametrize("separator", SEPARATORS, ids=repr)
a_few_separators = pytest.mark.parametrize("separator", FEW, ids=repr)


def make_signal(n_mics=2, n_samples=800):
    return make_convolutive_mixture(
        n_samples, n_mics, sample_rate=8000, rt60=0.02, random_state=0
    )[0]


def stft(x, n_fft=N_FFT):
    return STFT(n_fft).fit_transform(x).data


SIGNAL = make_signal()
PEAK = abs(SIGNAL) == abs(SIGNAL).max()
X = stft(SIGNAL)
X3 = stft(make_signal(3))
BIN, FRAME = 5, 50


def changed(change, X=X):
    X = X.copy()
    change(X)
    return X


def zero_bins_but_one(X):
    X[:, :BIN] = X[:, BIN + 1 :] = 0


def dead_microphone(X):
    X[..., 1] = 0


def dead_in_some_bins(X):
    X[:, :10, 0] = X[:, 10:20, 1] = 0


def quieter_duplicate(X):
    X[..., 1] = 0.3j * X[..., 0]


def nearly_duplicate(X):
    X[:, :9, 1] = X[:, :9, 0] * (1 + 1e-9 * X[:, :9, 1] / abs(X).max())


def silent_ends(X):
    X[:20] = X[-20:] = 0


def alternating(X):
    """One microphone at a time."""
    X[::2, :, 0] = X[1::2, :, 1] = 0


def click(X):
    X[FRAME] *= 1e8


def loud_coefficient(X):
    X[FRAME, BIN, 0] = 1e12


def spectral_tilt(X):
    X *= np.geomspace(1, 1e-14, X.shape[1])[:, None]


def uneven_microphones(X):
    X[..., 1] *= 1e-9


def hum(X):
    """A tone so loud in two bins that these are of rank one."""
    X[:, 3:5] += 1e6 * np.array([1, 1j])


t = np.arange(800)[:, None]
tones = np.sin(0.3 * t + [0, 0.4]) + [0.5, 0.7] * np.sin(0.9 * t + [0, 0.2])
impulse = np.where(t == 300, [1.0, 0.5], 0.0)

CASES = {
    **{
        change.__name__: changed(change)
        for change in (
            zero_bins_but_one,
            dead_microphone,
            dead_in_some_bins,
            quieter_duplicate,
            nearly_duplicate,
            silent_ends,
            alternating,
            click,
            loud_coefficient,
            spectral_tilt,
            uneven_microphones,
            hum,
        )
    },
    "silence": 0 * X,
    "one_frame": X[FRAME : FRAME + 1],
    "one_bin": X[:, BIN : BIN + 1],
    "one_coefficient": X[FRAME : FRAME + 1, BIN : BIN + 1],
    "one_microphone": X[..., :1],
    "fewer_frames_than_microphones": X3[FRAME : FRAME + 2],
    "as_many_frames_as_microphones": X3[FRAME : FRAME + 3],
    "two_of_three_equal": X3[..., [0, 1, 0]],
    "two_of_three_dead": X3 * [0, 1, 0],
    "third_is_the_sum": X3 @ np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]]),
    "five_of_two": X[::3] @ np.random.default_rng(0).normal(size=(2, 5)),
    "constant": stft(np.full((800, 2), 0.3)),
    "tones": stft(tones),
    "impulse": stft(impulse),
    "one_bit": stft(np.sign(SIGNAL)),
    "16_bit_whisper": stft(np.round(3 * SIGNAL)),
    "rounded_duplicate": stft(np.round(2**15 * SIGNAL[:, [0, 0]] * [1, 0.3]) / 2**15),
}
CASES.update({f"times_{scale:g}": X * scale for scale in (1e-150, 1e-30, 1e30, 1e150)})
every_case = pytest.mark.parametrize("case", CASES)


def separate(separator, X):
    """Separate and project back; everything that is learned must be finite."""
    separator = clone(separator)
    record = Spectrogram(X, {"n_fft": N_FFT, "hop_length": 8}, 800)
    Y = separator.fit_transform(record)
    Z = ProjectionBack().fit_transform(Y)
    learned = {k: v for k, v in vars(separator).items() if k.endswith("_")}
    for name, value in {
        "Y": Y.data,
        "mixing": Y.mixing,
        "Z": Z.data,
        **learned,
    }.items():
        assert np.isfinite(value).all(), name
    assert Y.shape == Z.shape == X.shape
    return separator, Z.data


@every_separator
@every_case
def test_the_sources_are_finite_and_sum_to_the_microphone(separator, case):
    data = CASES[case]
    _, Z = separate(separator, data)
    # Rows of the demixing matrices are at most 1e7 times as large as they need to be,
    # as noise at -140 dB is assumed: that is the loss of rounding.
    tolerance = 1e-7 * abs(data).max()
    assert_allclose(Z.sum(axis=2), data[..., 0], rtol=0, atol=tolerance)


@a_few_separators
@pytest.mark.parametrize("case", [case for case in CASES if "150" not in case])
def test_single_precision(separator, case):
    data = CASES[case].astype(np.complex64)
    _, Z = separate(separator, data)
    assert Z.dtype == np.complex64
    # As above, with noise at -100 dB: rounding is magnified by up to 1e5.
    tolerance = 0.02 * abs(data).max()
    assert_allclose(Z.sum(axis=2), data[..., 0], rtol=0, atol=tolerance)


@every_separator
@pytest.mark.parametrize("scale", [1e-8, 1e30])
def test_outputs_scale_with_the_input(separator, scale):
    fitted, Z = separate(separator, X)
    scaled, Z_scaled = separate(separator, scale * X)
    assert_allclose(Z_scaled / scale, Z, rtol=0, atol=1e-6 * abs(Z).max())
    assert_allclose(scaled.demixing_, fitted.demixing_, rtol=1e-6)


@a_few_separators
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_outputs_scale_with_the_input_in_single_precision(separator, scale):
    single = X.astype(np.complex64)
    _, Z = separate(separator, single)
    _, Z_scaled = separate(separator, np.complex64(scale) * single)
    # Ten iterations magnify rounding by some 1e3.
    assert_allclose(Z_scaled / scale, Z, rtol=0, atol=1e-3 * abs(Z).max())


@pytest.mark.parametrize("separator", SEPARATORS, ids=repr)
def test_the_gain_of_a_microphone_does_not_matter(separator):
    """Cheap arrays have microphones of different sensitivity."""
    init = np.tile(np.eye(2), (X.shape[1], 1, 1))
    _, Z = separate(clone(separator).set_params(init=init), X)
    gain = np.array([1, 1e-4])
    gain /= np.sqrt(np.mean(abs(gain * X) ** 2) / np.mean(abs(X) ** 2))
    _, Z_gain = separate(clone(separator).set_params(init=init / gain), gain * X)
    Z_gain /= gain[0]
    # Rounding only, magnified by the iterations.
    assert_allclose(Z_gain, Z, rtol=0, atol=1e-7 * abs(Z).max())


@pytest.mark.parametrize("separator", [AuxIVA(), ILRMA(random_state=0)], ids=repr)
def test_a_dead_microphone_costs_no_signal(separator):
    """Of two outputs one has all the signal, and the other one none."""
    _, Z = separate(separator, CASES["dead_microphone"])
    power = np.sort(np.mean(abs(Z) ** 2, axis=(0, 1)))
    assert power[0] < 1e-6 * power[1]


@every_separator
def test_silence_stays_silent(separator):
    silence = np.zeros_like(X[:40])
    _, Z_padded = separate(separator, np.concatenate([silence, X, silence]))
    assert_array_equal(Z_padded[:40], 0)
    assert_array_equal(Z_padded[-40:], 0)


@pytest.mark.parametrize("method", ["inverse", "least_squares"])
@pytest.mark.parametrize(
    "case", ["dead_in_some_bins", "quieter_duplicate", "silence", "zero_bins_but_one"]
)
def test_either_projection_back(case, method):
    data = CASES[case]
    Y = AuxIVA(max_iter=10).fit_transform(Spectrogram(data, {}, 800))
    for ref_mic in (0, 1):
        Z = ProjectionBack(ref_mic, method=method).fit_transform(Y)
        assert np.isfinite(Z.data).all()
        assert np.isfinite(Z.mixing).all()
        if method == "least_squares":
            power = (abs(Z.data) ** 2).sum(axis=0)
            loudest = (abs(data[..., ref_mic]) ** 2).sum(axis=0)[:, None]
            assert (power <= loudest * (1 + 1e-9)).all()


SIGNALS = {
    "dead": SIGNAL * [1, 0],
    "dead_reference": SIGNAL * [0, 1],
    "duplicate": SIGNAL[:, [0, 0]],
    "rounded": np.round(2**15 * SIGNAL[:, [0, 0]] * [1, 0.3]) / 2**15,
    "silence": 0 * SIGNAL,
    "constant": np.full((800, 2), 0.3),
    "impulse": impulse,
    "short": SIGNAL[:7],
    "mono": SIGNAL[:, :1],
    "tiny": 1e-30 * SIGNAL,
    "huge": 1e30 * SIGNAL,
}


# What begins and ends a pipeline is of one kind for all methods, and "refined" begins
# as "auxiva". Levels are hard in single precision, and sums to be kept in double.
LEVELS = ("silence", "short", "tiny", "huge")


@pytest.mark.parametrize(
    ("name", "method", "dtype"),
    [
        *((name, "refined", np.float32) for name in SIGNALS),
        *((name, "refined", np.float64) for name in SIGNALS if name not in LEVELS),
        *((name, "ilrma", np.float32) for name in LEVELS),
    ],
)
def test_signals_through_the_tuned_pipelines(name, method, dtype):
    x = SIGNALS[name].astype(dtype)
    pipeline = make_separator(method, sample_rate=1000, random_state=0)
    with warnings.catch_warnings(action="ignore", category=RecordingWarning):
        y = pipeline.fit_transform(x)
        filled = pipeline.prepare(x)[1]  # without what is below speech
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    # Noise is assumed 140 (100) dB below the microphones: as above.
    tolerance = {np.float32: 0.02, np.float64: 1e-7}[dtype]
    scale = abs(x).max()
    assert_allclose(y.sum(axis=1), filled[:, 0], rtol=0, atol=tolerance * scale)


# Ill-conditioned as real rooms


def make_scene():
    """Two sources far from two microphones 1 cm apart, in a room, recorded at 8 kHz.

    In the lowest bins the microphones pick up the same but for 1e-2 or less, and the
    level falls by 100 dB towards the highest.
    """
    rng = np.random.default_rng(0)
    n = 8000
    f = np.fft.rfftfreq(n, 1 / 8000)
    loudness = np.repeat(rng.gamma(0.3, size=(2, 80)), 100, axis=1)
    sources = np.fft.rfft(loudness * rng.normal(size=(2, n)))
    sources *= 10 ** (-5 * f / 4000)
    delay = 0.01 / 340 * np.array([[0, 0.9], [0, -0.5]])[..., None]  # source, mic
    room = 1 + 0.1 * rng.normal(size=(2, 1, 1)) * np.exp(-2j * np.pi * f * 0.01)
    mics = (room * np.exp(-2j * np.pi * f * delay) * sources[:, None]).sum(0)
    return np.fft.irfft(mics, n).T


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "separator",
    [
        AuxIVA(max_iter=100),
        AuxIVA("laplace", spatial="ip2", max_iter=100),
        ILRMA(4, init="identity", max_iter=100, random_state=0),
        ILRMA(2, update="me", spatial="iss1", max_iter=100, random_state=0),
    ],
    ids=repr,
)
def test_nearly_rank_one_bins(separator, dtype, scene):
    x = scene.astype(dtype)
    record = STFT(2048).fit_transform(x)
    covariance = np.einsum("tfm,tfn->fmn", record.data, record.data.conj())
    assert np.linalg.cond(covariance)[: len(covariance) // 50].min() > 1e4
    separator = clone(separator)
    Y = separator.fit_transform(record)
    y = ISTFT().fit_transform(ProjectionBack().fit_transform(Y))
    assert y.dtype == dtype
    assert np.isfinite(y).all()
    tolerance = {np.float32: 1e-3, np.float64: 1e-7}[dtype]
    scale = abs(x).max()
    assert_allclose(y.sum(axis=1), x[:, 0], rtol=0, atol=tolerance * scale)
    if getattr(separator, "update", "mm") == "mm":
        # Rounding of powers, which are differences of numbers 1e5 times as large, and
        # of matrices that let hardly anything through.
        slack = {np.float32: 1e-4, np.float64: 1e-8}[dtype]
        assert np.diff(separator.objective_).max() < slack * record.data.size


def test_huge_values_are_finite_values(rng):
    """Their sum overflows, they don't."""
    data = (1 + 1j) * rng.uniform(1e305, 1e306, size=(100, 20, 2))
    with np.errstate(over="ignore"):
        assert np.isinf(data.real.sum())
    assert np.isfinite(AuxIVA(max_iter=2).fit_transform(data)).all()


# Anything at all

damages = st.tuples(
    st.sampled_from(["zero", "copy", "constant", "loud", "quiet", "noise", "tone"]),
    st.integers(0, 39),  # frames from ... to ...
    st.integers(1, 40),
    st.integers(0, 8),  # bins from ... to ...
    st.integers(1, 9),
    st.integers(0, 2),  # microphone
    st.floats(-30, 30),  # gain, power of 10
)


@a_few_separators
@given(
    damages=st.lists(damages, max_size=4),
    n_mics=st.integers(1, 3),
    single=st.booleans(),
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_any_damage(separator, damages, n_mics, single):
    rng = np.random.default_rng(0)
    X = stft(make_signal(3, 160), n_fft=16)[..., :n_mics]
    for kind, frame, n_frames, freq, n_freqs, mic, exponent in damages:
        mic = min(mic, n_mics - 1)
        place = np.s_[frame : frame + n_frames, freq : freq + n_freqs, mic]
        part = X[place]
        X[place] = {
            "zero": 0 * part,
            "copy": X[(*place[:2], 0)],
            "constant": 0 * part + 1,
            "loud": part * 10 ** abs(exponent / 5),
            "quiet": part * 10 ** -abs(exponent / 3),
            "noise": rng.normal(size=part.shape) * 10 ** (exponent / 3),
            "tone": part + np.exp(1j * np.arange(len(part)))[:, None],
        }[kind]
    X = X.astype(np.complex64 if single else complex)
    _, Z = separate(separator, X)
    # Loud and quiet coefficients share bins here: 1e7 (1e5) as above, times a few.
    tolerance = 0.1 if single else 1e-6
    assert_allclose(Z.sum(axis=2), X[..., 0], rtol=0, atol=tolerance * abs(X).max())
