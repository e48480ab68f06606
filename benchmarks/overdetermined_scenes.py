"""Room scenes with fewer talkers than microphones, clean and in noise.

Twelve rooms for each random state: two or three talkers on four to eight microphones (a
line or a circle with 5 cm between neighbors, or 30 cm ad hoc), reverberation times of
0.2 to 0.6 s. Each is written three times: clean, and with noise from all around 20 and
10 dB below the talkers. Twelve more follow the recipe of SMS-WSJ [1]_: two talkers, six
microphones on a circle, white noise 20 to 30 dB below. From the shell::

    python benchmarks/overdetermined_scenes.py DRY_SPEECH_FOLDER OUT_FOLDER

Scenes are folders as benchmarks/scenes.py makes them, except that noise is the part of
the mixture that no source has. Needs pyroomacoustics (the extra ``rooms``).

.. [1] L. Drude, J. Heitkaemper, C. Boeddeker and R. Haeb-Umbach, "SMS-WSJ: Database,
   performance measures, and baseline recipe for multi-channel source separation and
   recognition", arXiv:1910.13934.
"""

# License: BSD-3-Clause

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.signal import welch

from skbss.datasets import save_scene
from skbss.datasets._rooms import (
    direction,
    random_array,
    random_room,
    random_sources,
    room_images,
)

sys.path.insert(0, str(Path(__file__).resolve().parent))
from scenes import input_si_sdr, read_speakers

DURATION = 10.0  # seconds
SPEED_OF_SOUND = 343.0
N_WAVES = 48
SENSOR_NOISE = -35.0  # dB, of noisy scenes
# Microphones, array, talkers, reverberation time in seconds.
ROOMS = (
    (4, "linear", 2, 0.2),
    (4, "circular", 2, 0.4),
    (4, "linear", 3, 0.3),
    (4, "circular", 3, 0.5),
    (4, "adhoc", 2, 0.6),
    (6, "circular", 2, 0.25),
    (6, "circular", 3, 0.6),
    (6, "linear", 3, 0.4),
    (6, "adhoc", 2, 0.4),
    (8, "circular", 2, 0.4),
    (8, "linear", 3, 0.3),
    (8, "circular", 3, 0.6),
)
NOISES = {"clean": None, "20dB": 20.0, "10dB": 10.0}


def adhoc_array(n_mics, room_dim, rng):
    """Place microphones 30 cm apart in a row, each up to 10 cm away from its place."""
    mics, rotation = random_array(n_mics, room_dim, rng, mic_spacing=0.3)
    return mics + rng.uniform(-0.1, 0.1, size=mics.shape), rotation


def isotropic_noise(mics, spectrum, n_samples, sample_rate, rng):
    """Return noise from all around: plane waves from points spread over a sphere.

    Parameters
    ----------
    mics : ndarray of shape (n_mics, 3)
        Positions in meters.
    spectrum : tuple of ndarray
        Frequencies in Hz and the power density there.
    n_samples, sample_rate : int
        Length and rate.
    rng : Generator
        Draws the waves.

    Returns
    -------
    noise : ndarray of shape (n_samples, n_mics)
        Unit power at microphone 0.
    """
    k = np.arange(N_WAVES) + 0.5
    z = 1 - 2 * k / N_WAVES  # a Fibonacci lattice
    around = direction(np.pi * (1 + np.sqrt(5)) * k)
    toward = np.column_stack([np.sqrt(1 - z**2)[:, None] * around, z])
    delays = (mics - mics.mean(axis=0)) @ toward.T / SPEED_OF_SOUND
    freqs = np.fft.rfftfreq(n_samples, 1 / sample_rate)
    gain = np.sqrt(np.interp(freqs, *spectrum))
    noise = np.zeros((len(mics), len(freqs)), complex)
    for delay in delays.T:
        wave = gain * np.fft.rfft(rng.normal(size=n_samples))
        noise += wave * np.exp(2j * np.pi * freqs * delay[:, None])
    noise = np.fft.irfft(noise, n_samples).T
    return noise / noise[:, 0].std()


def speech_spectrum(speakers, sample_rate):
    """Return frequencies and mean power density of all speakers."""
    signals = [signal / signal.std() for signal, *_ in speakers.values()]
    return welch(np.concatenate(signals), sample_rate, nperseg=1024)


def simulate(speakers, n_sources, room_dim, rt60, mics, rotation, rng):
    """Return images, levelled, and metadata of random speakers in a room.

    Talkers are up to 2.5 dB louder or softer than the others.
    """
    names = rng.choice(sorted(speakers), size=n_sources, replace=False)
    sample_rate = speakers[names[0]][1]
    sources, *_ = random_sources(n_sources, mics, room_dim, rng, rotation=rotation)
    dry = np.stack([speakers[name][0] for name in names])
    images, _, room = room_images(dry, sample_rate, room_dim, rt60, mics, sources)
    images /= images[:, :, :1].std(axis=1, keepdims=True)
    images *= 10 ** (rng.uniform(-2.5, 2.5, size=(n_sources, 1, 1)) / 20)
    return images, sample_rate, {**room, "speakers": names.tolist()}


def save(folder, images, noise, sample_rate, metadata):
    """Write a scene; `noise` is None or added to the images' sum."""
    gain = 0.25 / np.abs(images.sum(axis=0)).max()
    images = np.round(gain * images * 2**15) / 2**15
    mixture = images.sum(axis=0)
    if noise is not None:
        mixture = mixture + np.round(gain * noise * 2**15) / 2**15
    metadata = {**metadata, "input_si_sdr_db_mic0_clean": input_si_sdr(images)}
    scene = {"mixture": mixture, "images": images, "sample_rate": sample_rate}
    scene["metadata"] = metadata
    save_scene(folder, scene, suffix=".flac", subtype="PCM_16", overwrite=True)


def make_room_scenes(out_folder, speakers, random_state):
    """Write every room of `ROOMS` with every noise of `NOISES`; yield the folders."""
    sample_rate = next(iter(speakers.values()))[1]
    spectrum = speech_spectrum(speakers, sample_rate)
    for index, (n_mics, array, n_sources, rt60) in enumerate(ROOMS):
        rng = np.random.default_rng([random_state, index])
        room_dim = random_room(rng)
        if array == "adhoc":
            mics, rotation = adhoc_array(n_mics, room_dim, rng)
        else:
            mics, rotation = random_array(n_mics, room_dim, rng, array=array)
        images, sample_rate, metadata = simulate(
            speakers, n_sources, room_dim, rt60, mics, rotation, rng
        )
        power = images.sum(axis=0)[:, 0].std()
        n_samples = images.shape[1]
        isotropic = isotropic_noise(mics, spectrum, n_samples, sample_rate, rng)
        sensor = 10 ** (SENSOR_NOISE / 20) * rng.normal(size=isotropic.shape)
        for name, snr in NOISES.items():
            noise = None
            if snr is not None:
                noise = power * (10 ** (-snr / 20) * isotropic + sensor)
            milliseconds = round(1000 * rt60)
            folder = f"m{n_mics}_{array}_n{n_sources}_rt{milliseconds}_{name}"
            metadata |= {"seed": [random_state, index], "array": array, "snr_db": snr}
            save(out_folder / folder, images, noise, sample_rate, metadata)
            yield out_folder / folder


def make_sms_wsj_scenes(out_folder, speakers, random_state, n_scenes=12):
    """Write scenes by the recipe of SMS-WSJ; yield the folders."""
    for index in range(n_scenes):
        rng = np.random.default_rng([random_state, 1000 + index])
        room_dim = np.array([8.0, 6.0, 3.0]) + rng.uniform(-0.2, 0.2, size=3)
        # Six microphones on a circle are as far apart as its radius, 10 cm.
        mics, rotation = random_array(
            6, room_dim, rng, array="circular", mic_spacing=0.1
        )
        rt60 = rng.uniform(0.2, 0.5)
        images, sample_rate, metadata = simulate(
            speakers, 2, room_dim, rt60, mics, rotation, rng
        )
        snr = rng.uniform(20, 30)
        mixture = images.sum(axis=0)
        noise = rng.normal(size=mixture.shape) * mixture[:, 0].std() * 10 ** (-snr / 20)
        metadata |= {"seed": [random_state, 1000 + index], "array": "circular"}
        metadata["snr_db"] = round(snr, 2)
        folder = out_folder / f"sms_wsj_{index:02d}"
        save(folder, images, noise, sample_rate, metadata)
        yield folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dry_folder", help="clean speech, see benchmarks/scenes.py")
    parser.add_argument("out_folder", type=Path)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--kind", choices=["rooms", "sms_wsj"], help="default: both")
    parser.add_argument("--exclude", default="", help="speakers, separated by commas")
    args = parser.parse_args()
    speakers = read_speakers(args.dry_folder, DURATION, args.exclude.split(","))
    kinds = {"rooms": make_room_scenes, "sms_wsj": make_sms_wsj_scenes}
    for kind in [args.kind] if args.kind else kinds:
        for folder in kinds[kind](args.out_folder, speakers, args.random_state):
            print(folder.name, flush=True)


if __name__ == "__main__":
    main()
