"""Measure what each stage of the default pipeline brings and costs.

Run ``python benchmarks/bench_stages.py FOLDER_OF_SCENES --include "n*"``. Every line is
what the pipeline of ``make_separator`` would give if it ended there: the SI-SDR
improvement in dB, and the processor seconds of one thread per second of audio up to
there, for each number of microphones. The other methods follow.
"""

# License: BSD-3-Clause

import argparse
import time
from collections import defaultdict

import numpy as np
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skbss import ISTFT, make_separator
from skbss.datasets import SceneFolder
from skbss.metrics import si_sdr_improvement


def stages(x, sample_rate):
    """Yield the names of stages, their outputs and the seconds that each took."""
    pipeline = make_separator(sample_rate=sample_rate, random_state=0)
    first, back = pipeline["first"], make_pipeline(ISTFT())
    start = time.process_time()
    record = first[:-2].fit_transform(x)
    y = back.fit_transform(record)
    yield "first, unsorted", y, time.process_time() - start
    start = time.process_time()
    y = back.fit_transform(first["sort"].fit_transform(record))
    yield "sort", y, time.process_time() - start
    later = {"second": pipeline["second"]}
    later |= {f"cancel, {name}": step for name, step in pipeline["cancel"].steps}
    for name, stage in later.items():
        start = time.process_time()
        y = stage.fit_transform(y)
        yield name, y, time.process_time() - start


def methods(x, sample_rate):
    """Yield the names of methods, their outputs and the seconds that each took."""
    for name in ("auxiva", "ilrma", "refined"):
        pipeline = make_separator(name, sample_rate=sample_rate, random_state=0)
        start = time.process_time()
        y = pipeline.fit_transform(x)
        yield name, y, time.process_time() - start


def row(name, values):
    """Write means by the number of microphones, and of all, as one line."""
    return f"{name:20}" + "".join(f"{value:9.3f}" for value in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", help="folder of scenes")
    parser.add_argument("--include", default="*", help="pattern of scene names")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument(
        "--runs", type=int, default=1, help="of which the fastest counts"
    )
    args = parser.parse_args()
    scenes = list(SceneFolder(args.scenes, include=args.include))
    counts = sorted({scene.mixture.shape[1] for scene in scenes})
    gains, costs = defaultdict(list), defaultdict(list)
    for parts in (stages, methods):
        for n_mics in counts:  # libraries are loaded before time is taken
            noise = np.random.default_rng(0).normal(size=(20_000, n_mics))
            list(parts(noise.astype(args.dtype), scenes[0].sample_rate))
        for scene in scenes:
            x, total = scene.mixture.astype(args.dtype), 0.0
            runs = [list(parts(x, scene.sample_rate)) for _ in range(args.runs)]
            for same in zip(*runs, strict=True):
                name, y, _ = same[0]
                # Whoever else uses the machine makes runs longer.
                seconds = min(seconds for *_, seconds in same)
                total = seconds + (total if parts is stages else 0.0)
                gain = si_sdr_improvement(scene.references, y, x).mean()
                gains[name].append(gain)
                costs[name].append(total * scene.sample_rate / len(x))
    n_mics = np.array([scene.mixture.shape[1] for scene in scenes])
    for title, table in (("dB", gains), ("seconds per second", costs)):
        print(f"{title:20}" + "".join(f"{n:6} mic" for n in counts) + "      all")
        for name, values in table.items():
            means = [np.mean(np.array(values)[n_mics == n]) for n in counts]
            print(row(name, [*means, np.mean(values)]))
    print(row("worst of refined", [min(gains["refined"])]))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
