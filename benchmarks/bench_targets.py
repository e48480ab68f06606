"""Tell which output is the target: how often it is right, and what that costs in dB.

Run ``python benchmarks/bench_targets.py SCENES`` with a folder of scenes as
benchmarks/scenes.py makes them. In each scene one talker is the target, and the others
are silent at first. It prints how often the first output is the target, and the SI-SDR
improvement in dB of all talkers, by `make_separator` without a target, with the time in
which the target is heard alone, and with its direction; then these for `AuxIVA` alone.
"""

# License: BSD-3-Clause

import argparse
from collections import defaultdict

import numpy as np
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import (
    ISTFT,
    STFT,
    AuxIVA,
    ProjectionBack,
    make_separator,
    steering_vectors,
)
from skbss.datasets import SceneFolder
from skbss.metrics import si_sdr_improvement

ALONE = 2.0  # seconds
WINDOW = 0.256  # of AuxIVA, in seconds


def targets(scene, first):
    """Return what can be known of a talker: nothing, a time, a direction."""
    places = scene.metadata["source_positions_m"], scene.metadata["mic_positions_m"]
    source, mics = np.array(places[0][first]), np.array(places[1])
    steering = steering_vectors(
        mics, source - mics.mean(0), sample_rate=scene.sample_rate
    )
    return {"nothing": None, "a time": (0, ALONE), "a direction": steering}


def auxiva(sample_rate, target):
    """Make a pipeline of AuxIVA alone."""
    stft = STFT(round(WINDOW * sample_rate), sample_rate=sample_rate)
    return make_pipeline(stft, AuxIVA(target=target), ProjectionBack(), ISTFT())


def default(sample_rate, target):
    """Make the default."""
    return make_separator(sample_rate=sample_rate, target=target, random_state=0)


def score(pipeline, references, x, first):
    """Return whether the first output is the target, and the improvement in dB."""
    y = pipeline.fit_transform(x)
    # Whichever output has most of the target, however well it is separated.
    share = abs(references[:, first] @ y) / np.linalg.norm(y, axis=0)
    return share.argmax() == 0, si_sdr_improvement(references, y, x).mean()


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes")
    folder = SceneFolder(
        parser.parse_args().scenes, return_metadata=True, return_images=True
    )
    rows = defaultdict(list)
    for number, scene in enumerate(folder):
        images, rate = scene.images.copy(), scene.sample_rate
        first = number % len(images)
        others = [k for k in range(len(images)) if k != first]
        images[others, : round(ALONE * rate)] = 0
        x, references = images.sum(0), images[:, :, 0].T
        for make in (default, auxiva):
            for name, target in targets(scene, first).items():
                pipeline = make(rate, target)
                row = score(pipeline, references, x, first)
                rows[make.__name__, name].append(row)
        print(number + 1, {k: np.round(v[-1], 1) for k, v in rows.items()}, flush=True)
    for (separator, name), values in rows.items():
        right, improvement = np.array(values).T
        print(
            f"{separator}, {name}: {right.sum():.0f} of {len(right)} right, "
            f"{improvement.mean():.1f} dB"
        )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
