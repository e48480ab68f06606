"""Separate noisy scenes, with and without the Wiener filter of the outputs.

Run ``python benchmarks/bench_noise.py SCENES`` with a folder of clean scenes as
benchmarks/scenes.py makes them. Noise is added here: white noise of every microphone,
30, 20 and 10 dB below the talkers, and noise from all around with the spectrum of the
talkers, 20 and 10 dB below. For each kind and level it prints the SI-SDR improvement in
dB, the mean and the worst of all scenes, and how far other talkers (SI-SIR) and all
that no talker said (SI-SAR) lie below the sources. References are the talkers at
microphone 0, without noise.

"before" is what the default was before stages were sorted and cancelled.
"""

# License: BSD-3-Clause

import argparse
import sys
import zlib
from collections import defaultdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.signal import welch
from sklearn.utils import Bunch
from threadpoolctl import threadpool_limits

from skbss import make_separator
from skbss.datasets import SceneFolder
from skbss.metrics import si_bss_eval

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_overdetermined import before
from overdetermined_scenes import isotropic_noise

NOISES = {
    "clean": None,
    "white 30 dB": ("white", 30),
    "white 20 dB": ("white", 20),
    "white 10 dB": ("white", 10),
    "isotropic 20 dB": ("isotropic", 20),
    "isotropic 10 dB": ("isotropic", 10),
}
SCORES = "si_sdr_improvement", "si_sir", "si_sar"


def noise_of(scene, kind, spectrum):
    """Return noise of unit power at microphone 0, the same at each call."""
    rng = np.random.default_rng(zlib.crc32(f"{scene.name} {kind}".encode()))
    if kind == "isotropic":
        mics = np.array(scene.metadata["mic_positions_m"])
        n_samples = len(scene.mixture)
        return isotropic_noise(mics, spectrum, n_samples, scene.sample_rate, rng)
    noise = rng.normal(size=scene.mixture.shape)
    return noise / noise[:, 0].std()


def noisy(scene, noise, spectrum):
    """Return a scene with noise, None or its kind and how many dB it lies below."""
    mixture = scene.mixture
    if noise is not None:
        kind, snr = noise
        gain = mixture[:, 0].std() * 10 ** (-snr / 20)
        mixture = mixture + gain * noise_of(scene, kind, spectrum)
    return Bunch(**{**scene, "mixture": mixture})


def mean_spectrum(scenes):
    """Return frequencies and the mean power density of the talkers of all scenes."""
    densities = [
        welch(scene.mixture[:, 0] / scene.mixture[:, 0].std(), scene.sample_rate)
        for scene in scenes
    ]
    return tuple(np.mean(densities, axis=0))


def default(scene, memory, **params):
    """Separate by the default; what is separated already is taken from the memory."""
    params |= {"sample_rate": scene.sample_rate, "random_state": 0, "memory": memory}
    return make_separator(**params).fit_transform(scene.mixture)


CONTESTANTS = {
    "before": lambda scene, memory: before(scene),
    "default": default,
    "denoised": partial(default, denoise=True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", help="folder")
    parser.add_argument("--include", default="*", help="pattern of scene names")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    args = parser.parse_args()
    with TemporaryDirectory() as memory:
        compare(args, memory)


def compare(args, memory):
    """Print the scores of all scenes, and their means."""
    scenes = SceneFolder(args.scenes, include=args.include, return_metadata=True)
    spectrum = mean_spectrum(scenes)
    names = args.contestants.split(",")
    scores = {name: defaultdict(list) for name in names}
    for scene in scenes:
        for label, noise in NOISES.items():
            example = noisy(scene, noise, spectrum)
            row = f"{scene.name}, {label}:"
            for name in names:
                y = CONTESTANTS[name](example, memory)
                found = si_bss_eval(scene.references, y, mixture=example.mixture)
                scores[name][label].append([found[key].mean() for key in SCORES])
                row += f"  {name} {scores[name][label][-1][0]:.1f}"
            print(row, flush=True)
    print(f"\n{'':27} mean dB  worst dB  SI-SIR  SI-SAR")
    for label in NOISES:
        for name in names:
            gain, sir, sar = np.transpose(scores[name][label])
            print(
                f"{label:16} {name:10} {gain.mean():7.1f} {gain.min():9.1f} "
                f"{sir.mean():7.1f} {sar.mean():7.1f}"
            )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
