"""Separate more talkers than microphones: how well, how fast, in how much memory.

Run ``python benchmarks/bench_more_sources.py SCENES`` with a folder of scenes as
benchmarks/scenes.py makes them. One microphone less than there are talkers is used. It
prints, clean and with white noise 20 dB below, the SI-SDR improvement in dB of each
scene, and the mean processor seconds over the duration. Then come one scene's seconds
and peak of memory in a process of its own, beside FastMNMF2 of pyroomacoustics.
"""

# License: BSD-3-Clause

import argparse
import multiprocessing
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from bench_memory import resident
from threadpoolctl import threadpool_limits

from skbss import ISTFT, STFT, make_separator
from skbss.datasets import SceneFolder
from skbss.metrics import si_sdr_improvement

NOISE_DB = 20


def recorded(scene, noisy, rng):
    """Return one microphone less than sources."""
    x = scene.mixture[:, : scene.references.shape[1] - 1]
    noise = 10 ** (-NOISE_DB / 20) * x.std() * rng.standard_normal(x.shape)
    return x + noise if noisy else x


def score(scene, separate, x):
    """Improvement in dB, and processor seconds."""
    start = time.process_time()
    y = separate(x, scene.references.shape[1], scene.sample_rate)
    elapsed = time.process_time() - start
    return si_sdr_improvement(scene.references, y, x).mean(), elapsed


def skbss(x, n_sources, sample_rate):
    pipeline = make_separator(
        n_sources=n_sources, sample_rate=sample_rate, random_state=0
    )
    return pipeline.fit_transform(x)


def fastmnmf2(x, n_sources, sample_rate):
    from pyroomacoustics.bss import fastmnmf2

    S = STFT(2048, sample_rate=sample_rate).fit_transform(x)
    Y = fastmnmf2(S.data, n_src=n_sources, n_iter=60, n_components=8)
    return ISTFT().fit_transform(type(S)(Y, S.stft_params, S.n_samples))


def in_process(queue, scene, separate, x):
    separate(x[: scene.sample_rate], scene.references.shape[1], scene.sample_rate)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is now
    queue.put(score(scene, separate, x))
    queue.put((resident("VmHWM") - before) / 1e6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes")
    folder = SceneFolder(parser.parse_args().scenes, return_metadata=True)
    rng = np.random.default_rng(0)
    kinds = defaultdict(list)
    for scene in folder:
        kinds[scene.references.shape[1]].append(scene)
    for n_sources, scenes in kinds.items():
        for noisy in (False, True):
            rows = [score(s, skbss, recorded(s, noisy, rng)) for s in scenes]
            scores, seconds = np.array(rows).T
            duration = np.mean([len(s.mixture) / s.sample_rate for s in scenes])
            print(
                f"{n_sources} on {n_sources - 1}, {'noise' if noisy else 'clean'}: "
                f"mean {scores.mean():.1f} dB, {seconds.mean() / duration:.2f} of the "
                f"duration; {scores.round(1).tolist()}",
                flush=True,
            )
        scene, context = scenes[0], multiprocessing.get_context("spawn")
        for separate in (skbss, fastmnmf2):
            queue = context.Queue()
            x = recorded(scene, False, rng)
            process = context.Process(
                target=in_process, args=(queue, scene, separate, x)
            )
            process.start()
            (improvement, seconds), peak = queue.get(), queue.get()
            process.join()
            print(
                f"{separate.__name__}: {improvement:.1f} dB, {seconds:.1f} s, "
                f"{peak:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
