"""A task of an experiment: separate one recording in one way, and tell how it went."""

# License: BSD-3-Clause

import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_memory

from skbss.benchmark.environment import now
from skbss.benchmark.experiment import Candidate
from skbss.benchmark.output import OutputError, replacing, writing
from skbss.benchmark.results import COMPUTING, STAGES
from skbss.benchmark.scoring import score
from skbss.io import write_audio
from skbss.methods import flat_steps
from skbss.parallel import threadpool_controller
from skbss.sound_pipeline import SoundPipeline
from skbss.transforms import ISTFT, STFT

SECONDS = (*STAGES, "total")
_MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Task:
    """What a worker process needs to know."""

    run: str  # tells one run from another
    dataset: Sequence
    index: int  # of the recording, there
    recording: str
    candidate: Candidate
    seed: int  # of every step with a random state
    metrics: dict[str, Callable]
    ref_mic: int
    folder: Path  # of the run
    runtime: dict  # as the experiment says
    is_first: bool  # of the recording: it writes what all of them have in common


def run_task(task: Task) -> dict:
    """Separate a recording and return the row of the results.

    What goes wrong in reading, separating or scoring is in the row as an ``error``. If
    audio or arrays cannot be written, OutputError is raised: that is no property of the
    method.
    """
    row = _begin_row(task)
    clock = _Clock()
    with warnings.catch_warnings(record=True) as caught, clock.measure("total"):
        warnings.simplefilter("default")
        try:
            row |= _separate_and_score(task, clock) | {"status": "ok"}
        except OutputError:
            raise
        except Exception as error:
            row["error"] = _describe(error) | {"during": clock.current}
    row["seconds"] |= clock.seconds
    row["steps"] = clock.steps
    if row["status"] == "ok":
        compute = sum(row["seconds"][n] for n in COMPUTING)
        row["real_time_factor"] = compute / row["duration"]
    if messages := dict.fromkeys(" ".join(str(w.message).split()) for w in caught):
        row["warnings"] = list(messages)
    row["finished"] = now()
    return row


def failed_row(task: Task, error: Exception) -> dict:
    """Return the row of a task whose process was lost."""
    return _begin_row(task) | {"error": _describe(error), "finished": now()}


def _begin_row(task):
    return {
        "recording": task.recording,
        "candidate": task.candidate.name,
        "method": task.candidate.method,
        "params": task.candidate.params,
        "seed": task.seed,
        "status": "failed",
        "seconds": dict.fromkeys(SECONDS, 0.0),
    }


def _describe(error):
    message = " ".join(str(error).split())
    return {"type": type(error).__name__, "message": message[:_MAX_MESSAGE]}


class _Clock:
    """Adds up seconds by what they were spent on."""

    def __init__(self):
        self.seconds = Counter()
        self.cpu_seconds = 0.0
        self.steps = {}
        self.current = None

    @contextmanager
    def measure(self, name):
        outer, self.current = self.current, name
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
        self.current = outer

    def step(self, name, kind, function, *args):
        """Return what a timed function does, and count it as a step."""
        outer, self.current = self.current, kind
        result, messages, seconds, cpu_seconds = function(*args)
        self.current = outer
        self.seconds[kind] += seconds
        self.cpu_seconds += cpu_seconds
        self.steps[name] = seconds
        for message in messages:
            warnings.warn(message, stacklevel=2)
        return result


def _separate_and_score(task, clock):
    """Return the part of the row that only a success has."""
    with clock.measure("read"):
        scene = _read(task)
    mixture, references = scene["mixture"], scene.get("references")
    save_audio, framewise = task.runtime["save_audio"], task.runtime["framewise"]
    sample_rate = scene["sample_rate"]
    if save_audio and task.is_first:
        with clock.measure("write"):
            _write_scene(task, scene)
    n_samples, n_mics = mixture.shape
    pipeline = task.candidate.make(
        sample_rate, ref_mic=task.ref_mic, seed=task.seed, n_mics=n_mics
    )
    row = {"sample_rate": sample_rate, "duration": n_samples / sample_rate}
    with threadpool_controller().limit(limits=task.runtime["threads"]):
        estimate = separate(pipeline, mixture, clock, memory=task.runtime["memory"])
        n_sources = estimate.shape[1]
        row |= {"n_mics": n_mics, "n_sources": n_sources}
        row |= {"cpu_seconds": clock.cpu_seconds, "scores": {}}
        order, windows = np.arange(n_sources), None
        if references is not None:
            with clock.measure("score"):
                permutation, row["scores"], windows = score(
                    scene, estimate, task.metrics, task.ref_mic, framewise
                )
            row |= {"n_sources": len(permutation), "permutation": permutation.tolist()}
            order = np.append(permutation, np.setdiff1d(order, permutation))
    with clock.measure("write"):
        if save_audio:
            row["audio"] = _write_sources(task, estimate[:, order], sample_rate)
        if windows is not None:
            row["framewise"] = _write_windows(task, windows)
    return row


def separate(
    pipeline: Pipeline, mixture: np.ndarray, clock: _Clock, memory: str | None = None
) -> np.ndarray:
    """Run the steps of a pipeline, and of those in it, one after the other, timed.

    In the folder `memory`, or that of the pipeline, results of all steps but the last
    are kept. A step that gets what it got before isn't fitted again, and counts with
    the seconds that it took then. Raises ValueError if what comes out isn't finite and
    of shape (n_samples, n_sources).
    """
    cached = check_memory(memory or pipeline.memory).cache(_fit_transform)
    steps, y = list(flat_steps(pipeline, "__")), mixture
    if isinstance(pipeline, SoundPipeline):
        prepare = pipeline.prepare
        _, y, gains = clock.step("prepare", "separation", _timed, prepare, y)
        if gains is not None:  # the steps are fitted on one, and separate the other
            steps, y = [("pipeline", pipeline)], mixture
    for k, (name, step) in enumerate(steps):
        kind = {STFT: "stft", ISTFT: "istft"}.get(type(step), "separation")
        run = cached if k < len(steps) - 1 else _fit_transform
        y = clock.step(name, kind, run, step, y)
    estimate = np.asarray(y)
    if estimate.ndim != 2 or len(estimate) != len(mixture):
        raise ValueError(
            f"Got separated signals of shape {estimate.shape}, expected "
            f"({len(mixture)}, n_sources)."
        )
    if not np.isfinite(estimate).all():
        raise ValueError("Got separated signals with NaN or infinite samples.")
    return estimate


def _fit_transform(step, X):
    return _timed(step.fit_transform, X)


def _timed(function, *args):
    """Return a result, the warnings, and how long it took on the clock and the CPU."""
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        y = function(*args)
    messages = [str(warning.message) for warning in caught]
    return y, messages, time.perf_counter() - start, time.process_time() - cpu


# The recording that this process read last: the next task is often of the same.
_last_read = (None, None)


def _read(task):
    """Return the scene of a task, a dict whose arrays cannot be written to."""
    global _last_read
    key, scene = _last_read
    if key != (task.run, task.recording):
        scene = task.dataset[task.index]
        # The next task, and a data set in memory, want it as it is. Sums depend on the
        # layout in memory to the last digits, and processes shall agree.
        scene = {name: _read_only(value) for name, value in scene.items()}
        _last_read = (task.run, task.recording), scene
    return scene


def _read_only(value):
    if not isinstance(value, np.ndarray):
        return value
    view = np.ascontiguousarray(value).view()
    view.flags.writeable = False
    return view


def _write_audio(path, x, sample_rate):
    # Clipping would be audible; integers are half as long.
    subtype = "PCM_16" if abs(x).max(initial=0) <= 1 else "FLOAT"
    with writing(path):
        write_audio(path, x, round(sample_rate), subtype=subtype)


def _write_scene(task, scene):
    folder = task.folder / "audio" / task.recording
    _write_audio(folder / "mixture.wav", scene["mixture"], scene["sample_rate"])
    if scene.get("references") is not None:
        _write_each(folder / "reference", scene["references"], scene["sample_rate"])


def _write_sources(task, sources, sample_rate):
    folder = task.folder / "audio" / task.recording / task.candidate.name
    paths = _write_each(folder / "source", sources, sample_rate)
    return [path.relative_to(task.folder).as_posix() for path in paths]


def _write_each(stem, signals, sample_rate):
    """Write a file for each channel, numbered, and return their paths."""
    paths = [Path(f"{stem}_{k:02d}.wav") for k in range(signals.shape[1])]
    for path, signal in zip(paths, signals.T, strict=True):
        _write_audio(path, signal, sample_rate)
    return paths


def _write_windows(task, arrays):
    name = Path("framewise", task.recording, f"{task.candidate.name}.npz")
    with replacing(task.folder / name) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
    return name.as_posix()
