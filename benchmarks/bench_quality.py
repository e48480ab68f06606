"""Separate recordings with skbss and its peers, each as its documentation does.

Run ``python benchmarks/bench_quality.py`` for the bundled recording, or with a folder
of scenes. Peers get the window, the number of iterations and of bases that their
examples or defaults have; ILRMA starts from the same random factors everywhere. Outputs
of all are projected back to microphone 0 by the inverse demixing matrices, and scored
by their mean SI-SDR improvement. Real-time factors are processor seconds of one thread,
from samples to samples, over the duration.
"""

# License: BSD-3-Clause

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from skbss import ISTFT, STFT, make_separator
from skbss.datasets import SceneFolder, load_dataset
from skbss.metrics import si_sdr_improvement
from skbss.transforms import projection_back

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import peers
from tests.reference import make_factors


def skbss(method):
    """Return a separator of signals by this package."""

    def separate(x, rate):
        return make_separator(method, sample_rate=rate, random_state=0).fit_transform(x)

    return separate


def peer(demix, n_fft, hop_length, n_iter, n_basis=None, **params):
    """Return a separator of signals by another package."""

    def separate(x, rate):
        record = STFT(n_fft, hop_length=hop_length).fit_transform(x)
        X = np.asarray(record)
        factors = make_factors(0, X, n_basis) if n_basis else ()
        W = demix(X, n_iter, *factors, **params)
        record.data[:] = projection_back(np.einsum("fkm,tfm->tfk", W, X), W)
        return ISTFT().fit_transform(record)

    return separate


CONTESTANTS = {
    "skbss refined, the default": skbss("refined"),
    "skbss ilrma": skbss("ilrma"),
    "skbss auxiva": skbss("auxiva"),
    "pyroomacoustics AuxIVA": peer(
        peers.pyroomacoustics_auxiva, 2048, 1024, 20, source="laplace"
    ),
    "pyroomacoustics ILRMA": peer(
        peers.pyroomacoustics_ilrma, 2048, 1024, 20, n_basis=2
    ),
    "oobss AuxIVA": peer(peers.oobss_auxiva, 2048, 512, 30),
    "oobss ILRMA": peer(peers.oobss_ilrma, 2048, 512, 100, n_basis=10),
    "ssspy AuxIVA": peer(peers.ssspy_auxiva, 4096, 2048, 100),
    "ssspy ILRMA": peer(peers.ssspy_ilrma, 4096, 2048, 100, n_basis=2),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="?", help="folder; default: bundled recording")
    parser.add_argument("--include", default="*", help="pattern of scene names")
    args = parser.parse_args()
    scenes = load_dataset("cocktail_party")
    if args.scenes:
        scenes = SceneFolder(args.scenes, include=args.include)
    print(f"{'':28} mean dB  worst dB  real-time factor")
    for name, separate in CONTESTANTS.items():
        gains, seconds, duration = [], 0.0, 0.0
        # Libraries are loaded before time is taken.
        separate(scenes[0].mixture, scenes[0].sample_rate)
        for scene in scenes:
            start = time.process_time()
            y = separate(scene.mixture, scene.sample_rate)
            seconds += time.process_time() - start
            duration += len(y) / scene.sample_rate
            gain = si_sdr_improvement(scene.references, y, scene.mixture)
            gains.append(gain.mean())
        print(
            f"{name:28} {np.mean(gains):7.1f} {min(gains):9.1f} "
            f"{seconds / duration:13.2f}",
            flush=True,
        )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
