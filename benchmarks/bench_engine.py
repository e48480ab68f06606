"""What the engine of experiments costs, and how it scales from one process to two.

Run ``python benchmarks/bench_engine.py`` (some minutes). Printed are

- overhead: the processor time (user and system) of an experiment of 200 tasks in one
  process over that of the same separations and scores in a plain loop, interleaved in
  short runs, median of the ratios; and the wall time likewise. Writing audio is work
  that a plain loop would have too, so that neither writes it.
- scaling: the wall time of an experiment in one process over that in two, both started
  before. Where others use the machine too, that says little. What the engine has in
  its hands is printed as well: the share of the time that processes were busy with
  tasks, and the processor time of the separations in one process and in two. Their
  ratios give the scaling on a machine of one's own.
"""

# License: BSD-3-Clause

import argparse
import tempfile
import time

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

from skbss.benchmark import make_experiment, read_results, run_experiment
from skbss.datasets import load_dataset
from skbss.metrics import si_bss_eval, si_sdr


def make(n_scenes, duration, n_jobs):
    return make_experiment(
        {
            "dataset": {
                "name": "convolutive",
                "n_scenes": n_scenes,
                "duration": duration,
            },
            "stft": {"n_fft": 2048},
            "methods": {"auxiva": {"grid": {"auxiva.max_iter": [10, 11, 12, 13]}}},
            "runtime": {"n_jobs": n_jobs, "save_audio": False},
        }
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


def measure_overhead(n_runs, n_scenes, duration):
    """Return the ratios of the engine to a plain loop, (n_runs, 2): wall, processor."""
    experiment = make(n_scenes, duration, 1)
    ratios = []
    for k in range(n_runs + 1):
        with threadpool_limits(1):
            plain = times(plain_loop, experiment)
        with_engine = times(engine, experiment)
        if k:  # the first warms up
            ratios.append(np.divide(with_engine, plain))
    return np.array(ratios)


def measure_scaling(n_scenes, duration):
    """Return wall, busy and processor seconds, of one process and two."""
    found = []
    for n_jobs in (1, 2):
        # joblib keeps its processes, and loading the package is no part of this.
        joblib.Parallel(n_jobs)(joblib.delayed(engine)(make(1, 1, 1)) for _ in "1234")
        engine(make(2, 1, n_jobs))
        begin = time.perf_counter()
        rows = engine(make(n_scenes, duration, n_jobs))
        wall = time.perf_counter() - begin
        busy = sum(row["seconds"]["total"] for row in rows)
        found.append((wall, busy, sum(row["cpu_seconds"] for row in rows)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="of the overhead")
    parser.add_argument("--duration", type=float, default=5, help="of a scene, seconds")
    args = parser.parse_args()
    # 200 tasks in all: 5 runs of 10 scenes with 4 candidates.
    ratios = measure_overhead(args.runs, 10, args.duration) - 1
    wall, cpu = 100 * np.median(ratios, axis=0)
    n_tasks = 40 * args.runs
    print(f"overhead of {n_tasks} tasks: processor {cpu:.1f} %, wall {wall:.1f} %")
    found = measure_scaling(25, args.duration)
    for n_jobs, (wall, busy, cpu) in zip((1, 2), found, strict=True):
        share = busy / n_jobs / wall
        print(
            f"{n_jobs} processes: {wall:.1f} s, busy {share:.3f}, processor {cpu:.1f} s"
        )
    walls, busies, cpus = np.transpose(found)
    shares = busies / [1, 2] / walls
    own = 2 * shares[1] / shares[0] * cpus[0] / cpus[1]
    print(f"scaling {walls[0] / walls[1]:.2f}, on a machine of one's own {own:.2f}")


if __name__ == "__main__":
    main()
