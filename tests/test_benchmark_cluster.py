"""Experiments on a Dask cluster of two worker processes, of which one is killed."""

# License: BSD-3-Clause

import json
import os
import sys
import time

import pytest

from skbss.benchmark import (
    make_experiment,
    read_results,
    resume_experiment,
    run_experiment,
)
from skbss.config import ConfigError
from tests.processes import CONTEXT

pytest.importorskip("distributed")

CONFIG = {
    "dataset": {
        "name": "convolutive",
        "n_scenes": 2,
        "duration": 1.0,
        "sample_rate": 8000,
    },
    "stft": {"n_fft": 256},
    "methods": {
        "auxiva": None,
        "ilrma": {"grid": {"ilrma.n_basis": [1, 2]}},
    },
}


def _dask(*arguments):
    """The command, without what it says."""
    from dask.__main__ import main

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.argv = ["dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
    main()


def start_dask(*arguments):
    process = CONTEXT.Process(target=_dask, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start a scheduler and two workers, each a process of its own."""
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    scheduler = start_dask("scheduler", "--port", "0", "--scheduler-file", str(file))
    while not file.exists():
        assert scheduler.is_alive()
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]
    alone = ["--nthreads", "1", "--no-nanny"]
    workers = [start_dask("worker", address, *alone) for _ in range(2)]
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.join()


def on_cluster(address):
    return make_experiment(
        CONFIG | {"runtime": {"backend": "dask", "scheduler": address}}
    )


def table(folder):
    rows = read_results(folder)
    scores = {(row["recording"], row["candidate"]): row["scores"] for row in rows}
    assert len(scores) == len(rows)
    assert {row["status"] for row in rows} == {"ok"}
    return scores


def test_a_killed_worker_loses_nothing(cluster, tmp_path):
    address, workers = cluster

    def kill_half_way(progress, row):
        if progress.n_done == 3:
            workers[0].kill()

    experiment = on_cluster(address)
    run_experiment(experiment, tmp_path / "cluster", on_result=kill_half_way)
    workers[0].join()
    assert workers[0].exitcode != 0
    assert workers[1].is_alive()
    # A run of this process, with the same numbers.
    run_experiment(make_experiment(CONFIG), tmp_path / "here")
    scores = table(tmp_path / "cluster")
    assert len(scores) == 6
    assert scores == table(tmp_path / "here")
    audio = sorted((tmp_path / "here" / "audio").rglob("*.wav"))
    assert len(audio) == 2 * (3 + 3 * 2)
    for path in audio:
        path_there = tmp_path / "cluster" / path.relative_to(tmp_path / "here")
        assert path_there.read_bytes() == path.read_bytes()
    # Where it runs is no part of the experiment.
    resume_experiment(
        tmp_path / "cluster", runtime={"backend": None, "scheduler": None}
    )


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (None, "without runtime.scheduler"),
        ("tcp://127.0.0.1:9", "Cannot connect to runtime.scheduler='tcp://127"),
        ("nonsense://x", "Cannot connect to runtime.scheduler='nonsense"),
    ],
)
def test_no_cluster(tmp_path, monkeypatch, scheduler, message):
    monkeypatch.setattr("skbss.benchmark.execution._CONNECT_SECONDS", 1)
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match=message):
        run_experiment(on_cluster(scheduler), folder)
    assert not folder.exists()
