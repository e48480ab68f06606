"""What the engine of experiments costs, and how it scales from one process to two.

Run ``python benchmarks/bench_engine.py`` (some minutes). Printed are

- overhead: the processor time (user and system) of an experiment of 200 tasks in one
  process over that of the same separations and scores in a plain loop, interleaved in
  short runs, median of the ratios; and the wall time likewise. Writing audio is work
  that a plain loop would have too, so that neither writes it.
- scaling: the wall time of 40 tasks in one process over that in two, which were started
  before, the shortest of several interleaved runs each: whoever else uses the machine
  makes runs longer. The processor time of the separations and the share of the time
  that processes were busy with tasks tell what the engine itself has in its hands.

Recordings are files, as in most experiments.
"""

# License: BSD-3-Clause

import argparse
import tempfile
import time

import numpy as np
from threadpoolctl import threadpool_limits

from skbss.benchmark import make_experiment, read_results, run_experiment
from skbss.datasets import load_dataset, save_scene
from skbss.metrics import si_bss_eval, si_sdr


def make(folder, n_scenes, n_jobs):
    dataset = {"name": "scenes", "folder": str(folder), "limit": n_scenes}
    return make_experiment(
        {
            "dataset": dataset,
            "methods": {"ilrma": {"grid": {"ilrma.n_basis": [1, 2, 3, 4]}}},
            "stft": {"n_fft": 2048},
            "runtime": {"n_jobs": n_jobs, "save_audio": False},
        },
        overrides=["ilrma.max_iter=10", "ilrma.init_iter=10"],
    )


def plain_loop(experiment):
    """Do what the tasks do, and nothing else."""
    data = dict(experiment.config["dataset"])
    dataset = load_dataset(data.pop("name"), **data)
    for scene in dataset:
        for candidate in experiment.candidates:
            seed = experiment.seed(scene.name, candidate.name)
            y = candidate.make(16_000, seed=seed).fit_transform(scene.mixture)
            _, order = si_sdr(scene.references, y, return_permutation=True)
            si_bss_eval(
                scene.references, y[:, order], mixture=scene.mixture, permute=False
            )


def engine(experiment):
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(experiment, folder)
        return read_results(folder)


def times(function, *args):
    """Return wall and processor seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(*args)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_overhead(scenes, n_runs):
    """Return the ratios of the engine to a plain loop, (n_runs, 2): wall, processor."""
    experiment = make(scenes, 10, 1)
    ratios = []
    for k in range(n_runs + 1):
        with threadpool_limits(1):
            plain = times(plain_loop, experiment)
        with_engine = times(engine, experiment)
        if k:  # the first warms up
            ratios.append(np.divide(with_engine, plain))
    return np.array(ratios)


def measure_scaling(scenes, n_runs):
    """Return wall, busy and processor seconds of one process and of two."""
    found = {1: [], 2: []}
    for k in range(n_runs + 1):
        for n_jobs in found:
            begin = time.perf_counter()
            rows = engine(make(scenes, 10, n_jobs))
            wall = time.perf_counter() - begin
            busy = sum(row["seconds"]["total"] for row in rows)
            cpu = sum(row["cpu_seconds"] for row in rows)
            if k:  # joblib keeps its processes: the first run starts them
                found[n_jobs].append((wall, busy, cpu))
    return [min(runs) for runs in found.values()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="default: 5")
    parser.add_argument("--duration", type=float, default=5, help="of a scene, seconds")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scenes:
        made = load_dataset("convolutive", n_scenes=10, duration=args.duration)
        for scene in made:
            save_scene(f"{scenes}/{scene.name}", scene)
        ratios = measure_overhead(scenes, args.runs) - 1
        found = measure_scaling(scenes, args.runs)
    wall, cpu = 100 * np.median(ratios, axis=0)
    n_tasks = 40 * args.runs
    print(f"overhead of {n_tasks} tasks: processor {cpu:.1f} %, wall {wall:.1f} %")
    for n_jobs, (wall, busy, cpu) in zip((1, 2), found, strict=True):
        share = busy / n_jobs / wall
        print(f"{n_jobs}: {wall:.2f} s, busy {share:.3f}, processor {cpu:.2f} s")
    print(f"scaling {found[0][0] / found[1][0]:.2f}")


if __name__ == "__main__":
    main()
