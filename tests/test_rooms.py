"""Simulated rooms."""

# License: BSD-3-Clause

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skbss.datasets import load_dataset, make_room_mixture
from skbss.datasets._rooms import random_array, random_room, random_sources
from tests.processes import run_code

SPEED_OF_SOUND = 343.0


@pytest.mark.parametrize("make", [make_room_mixture, lambda: load_dataset("room")])
def test_without_the_simulator_the_error_names_the_extra(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(ImportError) as caught:
        make()
    expected = "Simulating rooms needs pyroomacoustics: pip install 'skbss[rooms]'."
    assert str(caught.value) == expected


def test_data_sets_are_imported_without_the_simulator():
    code = "import sys, skbss.datasets; assert 'pyroomacoustics' not in sys.modules"
    assert run_code(code) == 0


@pytest.mark.parametrize("distance", [0.3, 1.0, 2.7])
def test_sound_arrives_when_it_should(distance):
    pulse = np.zeros((1000, 1))
    pulse[100] = 1
    room = make_room_mixture(
        pulse,
        rt60=0,
        room_dim=[6, 5, 3],
        mic_positions=[[1, 2, 1.5], [1, 2.1, 1.5], [1, 2, 1.2]],
        source_positions=[[1 + distance, 2, 1.5]],
    )
    away = np.linalg.norm(room.mic_positions - room.source_positions, axis=1)
    arrival = np.abs(room.images[0]).argmax(axis=0)
    # Times are not whole samples: off by half of one.
    expected = 100 + away / SPEED_OF_SOUND * 16000
    assert np.abs(arrival - expected).max() < 0.51
    # A pulse between samples has the energy of one, but for what is above the band.
    energy = np.sum(room.images[0] ** 2, axis=0)
    np.testing.assert_allclose(energy / energy[0], (away[0] / away) ** 2, rtol=0.03)
    assert room.rt60 == 0


@pytest.mark.parametrize("rt60", [0.15, 0.3])
def test_reverberation_time(rt60):
    room = make_room_mixture(n_samples=1000, rt60=rt60, random_state=0)
    # The absorption is corrected four times, each more exact than the last.
    assert room.rt60 == pytest.approx(rt60, rel=0.02)


def test_mixture_is_the_sum_of_its_images():
    room = make_room_mixture(n_samples=4000, n_sources=3, n_mics=4, random_state=0)
    assert room.mixture.shape == (4000, 4)
    assert room.references.shape == (4000, 3)
    assert room.images.shape == (3, 4000, 4)
    # Rounding of a sum of three images of size 0.5.
    np.testing.assert_allclose(
        room.images.sum(axis=0), room.mixture, rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(room.images[:, :, 0].T, room.references)
    assert np.abs(room.mixture).max() == pytest.approx(0.5)
    power = np.mean(room.references**2, axis=0)
    np.testing.assert_allclose(power, power[0])
    # Speech-like sources begin before the recording, reverberation is there at once.
    assert np.abs(room.references[:100]).max(axis=0).min() > 1e-4
    for x in (room.mixture, room.references, room.images):
        assert x.flags.c_contiguous


def test_early_parts():
    pulse = np.zeros((3000, 1))
    pulse[100] = 1
    room = make_room_mixture(pulse, n_mics=2, rt60=0.2, random_state=0)
    assert room.early_images.shape == room.images.shape == (1, 3000, 2)
    np.testing.assert_array_equal(
        room.early_images[0, :, 0], room.early_references.T[0]
    )
    away = np.linalg.norm(room.mic_positions - room.source_positions, axis=1)
    for m in range(2):
        # The filters of fractional delays are 81 samples long.
        end = 100 + round((away[m] / SPEED_OF_SOUND + 0.05) * 16000)
        early, image = room.early_images[0, :, m], room.images[0, :, m]
        np.testing.assert_allclose(early[: end - 1], image[: end - 1], atol=1e-12)
        assert abs(early[end + 1 :]).max() < 1e-12 < abs(image[end + 1 :]).max()
    dataset = load_dataset("room", duration=0.1, n_scenes=1, early=True)
    expected = make_room_mixture(n_samples=1600, random_state=0)
    np.testing.assert_array_equal(dataset[0].images, expected.early_images)
    silence = make_room_mixture(np.zeros((500, 2)), rt60=0.2, random_state=0)
    assert (silence.early_images == 0).all()


def test_random_state():
    first, again, other = (
        make_room_mixture(n_samples=500, rt60=0.15, random_state=s) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.mixture, again.mixture)
    assert np.abs(first.mixture - other.mixture).max() > 0.1
    assert not np.allclose(first.source_positions, other.source_positions)


def test_noise_has_the_asked_level():
    room = make_room_mixture(n_samples=80_000, rt60=0, noise=0.1, random_state=0)
    clean = room.images.sum(axis=0)
    noise = room.mixture - clean
    # 80,000 samples: the standard deviation is known to 1 / sqrt(160,000) = 0.25 %.
    np.testing.assert_allclose(noise.std(axis=0) / clean[:, 0].std(), 0.1, rtol=0.01)


def test_silent_sources():
    sources = np.zeros((500, 2))
    silence = make_room_mixture(sources, rt60=0, random_state=0)
    np.testing.assert_array_equal(silence.mixture, np.zeros((500, 2)))
    sources[:, 0] = np.random.default_rng(0).standard_normal(500)
    half = make_room_mixture(sources, rt60=0, random_state=0)
    np.testing.assert_array_equal(half.references[:, 1], np.zeros(500))
    assert np.abs(half.mixture).max() == pytest.approx(0.5)


def test_shorter_than_the_impulse_responses():
    room = make_room_mixture(np.ones((3, 2)), rt60=0.2, random_state=0)
    assert room.mixture.shape == (3, 2)
    assert np.isfinite(room.mixture).all()


@settings(max_examples=100, deadline=None)
@given(
    n_sources=st.integers(1, 12),
    n_mics=st.integers(1, 8),
    array=st.sampled_from(["linear", "circular"]),
    seed=st.integers(0, 2**32 - 1),
    size=st.none() | st.tuples(*[st.floats(1.0, 20.0)] * 3),
)
def test_geometry(n_sources, n_mics, array, seed, size):
    rng = np.random.RandomState(seed)
    room_dim = random_room(rng) if size is None else np.array(size)
    mics, rotation = random_array(n_mics, room_dim, rng, array=array)
    neighbors = np.linalg.norm(np.diff(mics, axis=0), axis=1)
    np.testing.assert_allclose(neighbors, 0.05)
    sources, azimuth, distance = random_sources(
        n_sources, mics, room_dim, rng, rotation=rotation
    )
    assert ((mics > 0) & (mics < room_dim)).all()
    margin = np.minimum(0.5, room_dim / 8) - 1e-9  # rounding
    assert ((sources > margin) & (sources < room_dim - margin)).all()
    gaps = np.diff(np.sort(azimuth))
    assert (gaps >= min(25, 100 / n_sources) - 1e-9).all()
    away = sources[:, :2] - mics[:, :2].mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), distance)
    assert distance.max() <= 2
    if size is None:
        assert distance.min() >= 1


def test_rooms_by_name():
    dataset = load_dataset(
        "room", n_scenes=2, n_sources=2, n_mics=3, duration=0.1, ref_mic=2, rt60=0.15
    )
    assert dataset.names == ["room_0000", "room_0001"]
    scene = dataset[1]
    room = make_room_mixture(n_samples=1600, n_mics=3, rt60=0.15, random_state=1)
    np.testing.assert_array_equal(scene.mixture, room.mixture)
    np.testing.assert_array_equal(scene.references, room.images[:, :, 2].T)
    assert scene.metadata["rt60_target_s"] == 0.15


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rt60": -1}, "The 'rt60' parameter"),
        ({"array": "sphere"}, "The 'array' parameter"),
        (
            {"room_dim": [5, 4]},
            r"Got room_dim=\[5.0, 4.0\], expected length, width and",
        ),
        ({"room_dim": [5, 4, 0]}, "expected length, width and height"),
        ({"mic_positions": [[1, 1]]}, r"mic_positions of shape \(1, 2\), expected"),
        (
            {"room_dim": [3, 3, 3], "mic_positions": [[1, 1, 1], [1, 3.5, 1]]},
            r"Got \[1.0, 3.5, 1.0\] in mic_positions, which is outside .* 3 x 3 x 3 m",
        ),
        (
            {"source_positions": [[1, 1, 1]] * 3},
            r"source_positions of shape \(3, 3\), expected \(2, 3\)",
        ),
        ({"sources": [[np.nan]]}, "sources contains NaN"),
        (
            {"room_dim": [20, 20, 9], "rt60": 0.1},
            "Got rt60=0.1 s, which no walls",
        ),
    ],
    ids=str,
)
def test_bad_arguments(params, message):
    with pytest.raises(ValueError, match=message):
        make_room_mixture(**params)
