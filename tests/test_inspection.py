"""Displays draw the data, where it belongs in seconds, Hz and dB."""

# License: BSD-3-Clause

import matplotlib
import numpy as np
import pytest
from numpydoc.docscrape import ClassDoc
from sklearn.pipeline import make_pipeline

from skbss import (
    ILRMA,
    ISTFT,
    STFT,
    AuxIVA,
    OnlineISNMF,
    ProjectionBack,
    SortFrequencies,
    Spectrogram,
)
from skbss.inspection import (
    ConvergenceDisplay,
    DirectivityDisplay,
    FramewiseDisplay,
    NMFDisplay,
    SeparationDisplay,
    SortingDisplay,
    SpectrogramDisplay,
)
from skbss.metrics import framewise_si_sdr, si_sdr

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

RATE = 8000


@pytest.fixture(autouse=True)
def _figures():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before  # displays leave the style alone
    plt.close("all")


@pytest.fixture(scope="module")
def tone():
    """One second of 1 kHz from 0.25 s to 0.5 s; the second channel 20 dB softer."""
    t = np.arange(RATE) / RATE
    x = np.sin(2 * np.pi * 1000 * t) * ((t >= 0.25) & (t < 0.5))
    return np.stack([x, 0.1 * x], axis=1)


@pytest.fixture(scope="module")
def separated(recording):
    """A pipeline fitted to the recording of half a second, its record and signals."""
    x, y = recording
    pipe = make_pipeline(
        STFT(128, sample_rate=RATE),
        ILRMA(3, max_iter=5, init_iter=5, random_state=0),
        ProjectionBack(),
        ISTFT(),
    )
    pipe.fit(x)
    return pipe, pipe[0].transform(x), x, y


def pixel_at(image, x, y):
    """Value drawn at a place, as a cursor over the picture shows it."""
    left, right, bottom, top = image.get_extent()
    data = image.get_array()
    column = int((x - left) / (right - left) * data.shape[1])
    row = int((y - bottom) / (top - bottom) * data.shape[0])
    return float(data[row, column])


def rendered(figure):
    """Draw a figure and return its pixels."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def test_spectrogram_shows_a_tone_where_it_is(tone):
    stft = STFT(256, sample_rate=RATE).fit(tone)
    display = SpectrogramDisplay.from_estimator(stft, tone)
    assert len(display.ax_) == 2
    loud, soft = display.images_
    inside, outside = (0.375, 1000), (0.75, 1000)
    assert pixel_at(loud, *inside) - pixel_at(soft, *inside) == pytest.approx(20)
    assert pixel_at(loud, *inside) > -1
    assert pixel_at(loud, *outside) < -100
    assert pixel_at(loud, 0.375, 3000) < -60
    # In time, the edges are where they are, to a hop.
    row = np.asarray(loud.get_array())[32]  # 1 kHz, by 31.25 Hz
    half = np.flatnonzero(row > row.max() - 6.1)  # half of the window inside
    assert display.time[half[[0, -1]]] == pytest.approx([0.25, 0.5], abs=0.008)


def test_spectrogram_axes(tone):
    stft = STFT(256, sample_rate=RATE).fit(tone)
    display = SpectrogramDisplay.from_estimator(stft, tone, names=["left", "right"])
    for ax, name in zip(display.ax_, ("left", "right"), strict=True):
        assert ax.get_title() == name
        assert ax.get_xlim() == (0, 1)
        assert ax.get_ylim() == (0, RATE / 2)
        assert ax.get_ylabel() == "frequency (Hz)"
    assert display.ax_[-1].get_xlabel() == "time (s)"
    assert display.colorbar_.mappable.get_clim() == (-80, 0)
    assert "dB" in display.colorbar_.ax.get_ylabel()
    assert display.figure_ is display.ax_[0].figure


def test_spectrogram_draws_all_of_the_data(separated):
    _, record, *_ = separated
    display = SpectrogramDisplay.from_predictions(record)
    amplitude = abs(record.data)
    loud = np.quantile(amplitude, 0.999)
    for k, image in enumerate(display.images_):
        level = 20 * np.log10(amplitude[:, :, k].T / loud)
        np.testing.assert_allclose(image.get_array(), level, atol=1e-9)
    # Frames and bins have centers where the transform has them.
    spacing = np.diff(display.time), np.diff(display.frequency)
    np.testing.assert_allclose(spacing[0], 32 / RATE)
    np.testing.assert_allclose(spacing[1], RATE / 128)
    assert 0.0 in display.time


def test_a_larger_range_shows_softer_sounds(tone):
    record = STFT(256, sample_rate=RATE).fit_transform(tone)
    display = SpectrogramDisplay.from_predictions(record, dynamic_range=40)
    assert display.colorbar_.mappable.get_clim() == (-40, 0)
    few = rendered(display.figure_)
    many = rendered(display.plot(dynamic_range=120).figure_)
    # Black is what lies below the range.
    assert (few.sum(axis=2) == 3).sum() > (many.sum(axis=2) == 3).sum()


def test_rate_is_given_or_an_error(tone):
    record = STFT(256).fit_transform(tone)
    with pytest.raises(ValueError, match="without a sample rate"):
        SpectrogramDisplay.from_predictions(record)
    display = SpectrogramDisplay.from_predictions(record, sample_rate=RATE)
    assert display.frequency[-1] == RATE / 2
    with pytest.raises(TypeError, match="Got ndarray"):
        SpectrogramDisplay.from_predictions(record.data, sample_rate=RATE)


def test_save_to_a_folder(tone, tmp_path):
    record = STFT(256, sample_rate=RATE).fit_transform(tone)
    display = SpectrogramDisplay.from_predictions(record, names=["left / L", "right"])
    n_figures = len(plt.get_fignums())
    paths = display.save(tmp_path / "new" / "pictures", dpi=100)
    assert [path.name for path in paths] == ["left_L.png", "right.png"]
    pictures = [plt.imread(path) for path in paths]
    assert {picture.shape[:2] for picture in pictures} == {(300, 750)}
    assert pictures[0].mean() > pictures[1].mean()  # the softer one is darker
    assert len(plt.get_fignums()) == n_figures
    display.names = ["a/b", "a b"]
    with pytest.raises(ValueError, match="same file names"):
        display.save(tmp_path)


@pytest.mark.parametrize("n_frames", [1, 5])
@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e300])
def test_silence_one_frame_and_any_level(n_frames, scale):
    rng = np.random.default_rng(0)
    data = scale * (rng.normal(size=(n_frames, 5, 1)) + 0j)
    params = {"n_fft": 8, "hop_length": 2, "window": "hann", "sample_rate": RATE}
    display = SpectrogramDisplay.from_predictions(Spectrogram(data, params, 8))
    assert np.isfinite(display.level).all()
    assert (display.level <= -200).all() == (scale == 0)
    rendered(display.figure_)


def test_axes_of_the_user(tone):
    record = STFT(256, sample_rate=RATE).fit_transform(tone)
    figure, axes = plt.subplots(2, 2)
    display = SpectrogramDisplay.from_predictions(record, ax=axes[:, 0])
    assert list(display.ax_) == list(axes[:, 0])
    divided = SpectrogramDisplay.from_predictions(record, ax=axes[0, 1])
    assert divided.figure_ is figure
    assert len(divided.ax_) == 2
    assert not axes[0, 1].axison
    with pytest.raises(ValueError, match="Got 4 axes, expected 2"):
        SpectrogramDisplay.from_predictions(record, ax=axes)
    with pytest.raises(ValueError, match="Got 1 names, expected 2"):
        SpectrogramDisplay.from_predictions(record, names=["one"])


@pytest.mark.parametrize("ref_mic", [0, 1, None])
def test_nmf_draws_the_factors_and_their_product(separated, ref_mic):
    pipe, record, *_ = separated
    display = NMFDisplay.from_estimator(pipe, record, source=1, ref_mic=ref_mic)
    basis, activations = pipe[1].basis_[1], pipe[1].activations_[1]
    if ref_mic is not None:
        basis = basis * abs(pipe[1].mixing_[:, ref_mic, 1])[:, None] ** 2
    product = basis @ activations
    powers = basis, activations, product
    for image, power in zip(display.images_, powers, strict=True):
        level = 10 * np.log10(power / power.max())
        np.testing.assert_allclose(image.get_array(), level, atol=1e-9)
        assert image.get_clim() == (-60, 0)
    left, top, middle = display.ax_
    assert left.get_ylim() == middle.get_ylim() == (0, RATE / 2)
    assert top.get_xlim() == middle.get_xlim()
    assert middle.get_xlim() == (0, 0.5)
    assert left.get_xlim() == (-0.5, 2.5)
    assert top.get_ylim() == (2.5, -0.5)


def test_nmf_at_a_microphone_is_the_source_as_heard(separated):
    """The model is that of the outputs after projection back."""
    pipe, record, *_ = separated
    display = NMFDisplay.from_estimator(pipe[1], record, source=0)
    heard = ProjectionBack().fit_transform(pipe[1].transform(record)).data[:, :, 0]
    power = abs(heard).T ** 2
    model = display.basis @ display.activations
    # Powers of a Gaussian with these variances have the ratio 1 in the mean.
    assert np.mean(power / model) == pytest.approx(1, abs=0.1)


def test_nmf_refuses_what_does_not_fit(separated, recording):
    pipe, record, x, _ = separated
    with pytest.raises(ValueError, match=r"Got source=2, but there are 2"):
        NMFDisplay.from_estimator(pipe, record, source=2)
    with pytest.raises(ValueError, match="but the estimator was fitted to"):
        NMFDisplay.from_estimator(pipe, pipe[0].transform(x[:2000]))
    with pytest.raises(ValueError, match="without activations_"):
        NMFDisplay.from_estimator(AuxIVA(max_iter=1).fit(record), record)
    mono = STFT(128, sample_rate=RATE).fit_transform(recording[0][:, :1])
    with pytest.raises(ValueError, match="no activations of all frames"):
        NMFDisplay.from_estimator(OnlineISNMF().fit(mono), mono)


def test_convergence_draws_every_iteration(separated):
    pipe, record, *_ = separated
    longer = AuxIVA(max_iter=8).fit(record)
    display = ConvergenceDisplay.from_estimator(pipe, longer)
    first, second = display.lines_
    np.testing.assert_array_equal(first.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(first.get_ydata(), pipe[1].objective_)
    np.testing.assert_array_equal(second.get_ydata(), longer.objective_)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["ILRMA", "AuxIVA"]
    assert display.ax_.get_xlabel() == "iteration"
    rendered(display.figure_)
    ticks = display.ax_.get_xticks()
    assert (ticks == ticks.round()).all()


def test_convergence_of_one_and_of_none(separated):
    display = ConvergenceDisplay.from_predictions([3.0, 1.0, 0.5])
    assert display.ax_.get_title() == "run 0"
    assert display.ax_.get_legend() is None
    with pytest.raises(ValueError, match="no objectives"):
        ConvergenceDisplay.from_estimator()
    with pytest.raises(ValueError, match="without objective_"):
        ConvergenceDisplay.from_estimator(AuxIVA())


def test_separation_puts_outputs_beside_their_references(separated):
    _, _, x, y = separated
    swapped = y[:, ::-1] + 0.01 * x[:, [0]]
    display = SeparationDisplay.from_predictions(x, swapped, y, sample_rate=RATE)
    assert display.ax_.shape == (2, 3)
    outputs, references = display.images_["outputs"], display.images_["references"]
    for output, reference in zip(outputs, references, strict=True):
        heard = reference.get_array() > -40
        difference = (output.get_array() - reference.get_array())[heard]
        assert abs(difference).mean() < 1  # in dB; 20 to 30 between the sources
        assert output.get_clim() == reference.get_clim() == (-80, 0)
    titles = [ax.get_title() for ax in display.ax_[:, 1]]
    expected = si_sdr(y, swapped)
    assert titles == [f"source {k}, SI-SDR {expected[k]:.1f} dB" for k in (0, 1)]
    for ax in display.ax_.ravel():
        assert ax.get_xlim() == (0, 0.5)
        assert ax.get_ylim() == (0, RATE / 2)


def test_separation_without_references_and_with_fewer_microphones(separated):
    pipe, _, x, _ = separated
    display = SeparationDisplay.from_estimator(pipe, x, sample_rate=RATE, ref_mic=1)
    assert display.ax_.shape == (2, 2)
    titles = [ax.get_title() for ax in display.ax_[:, 0]]
    assert titles == ["mixture, microphone 1", "mixture, microphone 0"]
    assert display.ax_[0, 1].get_title() == "source 0, separated"
    three = np.column_stack([x, x[:, 0]])
    display = SeparationDisplay.from_predictions(x[:, :1], three, sample_rate=RATE)
    assert [ax.get_visible() for ax in display.ax_[:, 0]] == [True, False, False]
    assert all(ax.get_ylabel() for ax in display.ax_[[0, 1, 2], [0, 1, 1]])


@pytest.fixture(scope="module")
def swap():
    """Four seconds of two sources; outputs swap at 2 s; the first pauses at 3 s."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4 * RATE, 2))
    y[3 * RATE :, 0] = 0
    estimate = y + 0.1 * rng.normal(size=y.shape)
    estimate[2 * RATE :] = estimate[2 * RATE :, ::-1]
    return y, estimate, y.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("permute", [True, "window"])
def test_framewise_draws_scores_moves_and_swaps(swap, permute):
    y, estimate, mixture = swap
    display = FramewiseDisplay.from_predictions(
        y,
        estimate,
        mixture=mixture,
        sample_rate=RATE,
        hop=1,
        permute=permute,
        moves=[1.75],
        names=["alto", "bass"],
    )
    scores = framewise_si_sdr(
        y, estimate, mixture=mixture, sample_rate=RATE, hop=1, permute=permute
    )
    for k, line in enumerate(display.lines_):
        np.testing.assert_array_equal(line.get_xdata(), [0.5, 1.5, 2.5, 3.5])
        np.testing.assert_array_equal(line.get_ydata(), scores.si_sdr_improvement[:, k])
    assert np.isnan(display.lines_[0].get_ydata()[-1])  # it pauses
    good = display.score[2] > 10
    assert good.all() == (permute == "window")
    assert display.swap_marks_.get_xdata() == pytest.approx([2.0])
    assert [line.get_xdata()[0] for line in display.move_lines_] == [1.75]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["alto", "bass", "move", "swap"]
    assert display.ax_.get_ylabel() == "SI-SDR improvement (dB)"


def test_framewise_without_swaps(swap):
    y, *_ = swap
    rng = np.random.default_rng(1)
    estimate = y + 0.1 * rng.normal(size=y.shape)
    estimate[: RATE // 2] = 0  # -300 dB, which must not flatten the rest
    display = FramewiseDisplay.from_predictions(
        y, estimate, sample_rate=RATE, window=0.5
    )
    assert display.swap_marks_ is None
    assert display.ax_.get_ylabel() == "SI-SDR (dB)"
    assert display.ax_.get_ylim()[0] >= -25
    assert np.nanmin(display.score) == -300


def test_framewise_from_estimator(separated):
    pipe, _, x, y = separated
    display = FramewiseDisplay.from_estimator(pipe, x, y, sample_rate=RATE, window=0.25)
    expected = framewise_si_sdr(
        y, pipe.transform(x), mixture=x, sample_rate=RATE, window=0.25
    )
    np.testing.assert_allclose(display.score, expected.si_sdr_improvement, atol=1e-9)


def plane_wave(azimuth, positions, frequency, speed=343.0):
    """Arrival at each microphone, from the delay that geometry says."""
    direction = np.array([np.cos(np.deg2rad(azimuth)), np.sin(np.deg2rad(azimuth))])
    delay = -(positions @ direction) / speed
    return np.exp(-2j * np.pi * frequency * delay)


def test_directivity_finds_the_directions_that_are_cancelled():
    positions = np.array([[0.0, 0.0], [0.03, 0.0], [0.0, 0.03]]) + 7  # anywhere
    azimuths = [-100, 20, 130]
    frequency = np.linspace(0, RATE / 2, 65)
    # Sources in a free field, so that demixing is the inverse of steering.
    mixing = np.stack(
        [
            np.stack([plane_wave(a, positions - 7, f) for a in azimuths], axis=1)
            for f in frequency[1:]
        ]
    )
    demixing = np.concatenate([np.eye(3)[None], np.linalg.inv(mixing)])
    display = DirectivityDisplay.from_predictions(
        demixing, positions, sample_rate=RATE, directions=[20, 260], names="abc"
    )
    at = [int(np.flatnonzero(display.azimuth == a)[0]) for a in azimuths]
    for k, (image, ax) in enumerate(zip(display.images_, display.ax_, strict=True)):
        gain = np.asarray(image.get_array())  # (n_freqs, n_directions)
        others = [at[j] for j in range(3) if j != k]
        assert gain[1:, others].max() < -200  # rounding of exact zeros
        assert gain[1:, at[k]].min() > -30
        assert gain.max(axis=1) == pytest.approx(np.zeros(65))
        assert pixel_at(image, azimuths[k], 2000) > -30
        assert pixel_at(image, azimuths[k - 1], 2000) < -200
        assert ax.get_xlim() == (-180, 180)
        assert ax.get_ylim() == (0, RATE / 2)
        assert [line.get_xdata()[0] for line in ax.lines] == [20, -100]
        assert ax.get_title() == "abc"[k]
    assert display.colorbar_.mappable.get_clim() == (-30, 0)


def test_directivity_scales_with_the_speed_of_sound(separated):
    pipe, *_ = separated
    positions = np.array([[0.0, 0, 0], [0.05, 0, 0]])
    show = DirectivityDisplay.from_estimator
    first = show(pipe, positions, sample_rate=RATE)
    second = show(pipe, 2 * positions, sample_rate=RATE, speed_of_sound=686)
    np.testing.assert_allclose(first.gain, second.gain, atol=1e-9)
    # Microphones on a line don't tell front from back.
    np.testing.assert_allclose(first.gain, first.gain[:, :, ::-1], atol=1e-6)


def test_directivity_refuses_what_does_not_fit(separated):
    pipe, *_ = separated
    with pytest.raises(ValueError, match=r"mic_positions of shape\s+\(3, 3\)"):
        DirectivityDisplay.from_estimator(pipe, np.eye(3), sample_rate=RATE)
    with pytest.raises(ValueError, match="sample_rate=0"):
        DirectivityDisplay.from_estimator(pipe, np.eye(2), sample_rate=0)
    with pytest.raises(ValueError, match="without demixing_"):
        DirectivityDisplay.from_estimator(AuxIVA(), np.eye(2), sample_rate=RATE)


def test_a_dead_microphone(recording):
    x = recording[0].copy()
    x[:, 1] = 0
    record = STFT(128, sample_rate=RATE).fit_transform(x)
    separator = ILRMA(2, max_iter=3, init_iter=3, random_state=0).fit(record)
    for k in range(2):
        display = NMFDisplay.from_estimator(separator, record, source=k)
        assert all(np.isfinite(image.get_array()).all() for image in display.images_)
    display = DirectivityDisplay.from_estimator(
        separator, [[0, 0], [0.1, 0]], sample_rate=RATE
    )
    assert np.isfinite(display.gain).all()


def test_documented_attributes_are_those_that_plot_sets(separated, swap):
    pipe, record, x, y = separated
    displays = [
        SpectrogramDisplay.from_predictions(record),
        NMFDisplay.from_estimator(pipe, record),
        ConvergenceDisplay.from_estimator(pipe),
        SeparationDisplay.from_estimator(pipe, x, y, sample_rate=RATE),
        FramewiseDisplay.from_predictions(*swap[:2], sample_rate=RATE),
        DirectivityDisplay.from_estimator(pipe, np.eye(2), sample_rate=RATE),
    ]
    for display in displays:
        doc = ClassDoc(type(display))
        documented = {p.name for p in doc["Attributes"] if p.name.endswith("_")}
        assert {name for name in vars(display) if name.endswith("_")} == documented
        parameters = {p.name for p in doc["Parameters"]}
        assert set(vars(display)) - documented == parameters
        assert display.figure_ is np.ravel(display.ax_)[0].figure


def test_sorting_shows_what_came_from_where(tone):
    rng = np.random.default_rng(0)
    loud = rng.random((40, 1, 3)) ** 2
    X = loud * (rng.normal(size=(40, 257, 3, 2)) @ [1, 1j])
    X[:, 100:150] = X[:, 100:150][..., [1, 0, 2]]
    params = {"n_fft": 512, "hop_length": 128, "window": "hann", "sample_rate": RATE}
    sort = SortFrequencies().fit(Spectrogram(X, params, 4992))
    display = SortingDisplay.from_estimator(sort, names=["alto", "bass", "rest"])
    left, right = display.ax_
    colors = np.asarray(display.mesh_.get_array())
    np.testing.assert_array_equal(colors, sort.order_)
    np.testing.assert_array_equal(colors[120], [1, 0, 2])
    corners = display.mesh_.get_coordinates()
    assert corners[100, 0, 1] == pytest.approx(99.5 * RATE / 512)
    before, after = display.lines_
    np.testing.assert_array_equal(before.get_xdata()[:-1], sort.agreement_[0])
    np.testing.assert_array_equal(after.get_xdata()[:-1], sort.agreement_[1])
    assert after.get_xdata().mean() > before.get_xdata().mean()
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["alto", "bass", "rest"]
    assert left.get_ylabel() == "frequency (Hz)"
    assert left.get_ylim() == right.get_ylim()
    rendered(display.figure_)


def test_sorting_of_one_output_and_of_a_pipeline(tone):
    pipe = make_pipeline(STFT(64, sample_rate=RATE), SortFrequencies(), ISTFT())
    pipe.fit(tone[:, :1])
    rendered(SortingDisplay.from_estimator(pipe).figure_)
    with pytest.raises(ValueError, match="without agreement_"):
        SortingDisplay.from_estimator(AuxIVA())
