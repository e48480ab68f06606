"""Run an experiment: a grid search over recordings whose results outlive it.

The unit of work is one recording that one candidate separates, in joblib's processes,
and not a call of ``GridSearchCV.fit``, which keeps its results in memory until the last
candidate is done. Here a row is on disk as soon as its task is done, with its times,
audio and errors, and a run that was interrupted goes on with the tasks that have none.
"""

# License: BSD-3-Clause

import json
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path, PurePath

from skbss.benchmark.environment import (
    describe_environment,
    now,
    read_environment,
    versions,
)
from skbss.benchmark.execution import backend, execute
from skbss.benchmark.experiment import (
    NOT_IN_FINGERPRINT,
    Experiment,
    make_experiment,
)
from skbss.benchmark.output import replacing
from skbss.benchmark.results import ResultsFile, RunError
from skbss.benchmark.table import summarize
from skbss.benchmark.task import Task
from skbss.config import ConfigError, flatten, load_yaml, save_yaml
from skbss.datasets import load_dataset
from skbss.datasets.sequence import SceneSequence


class RunProgress:
    """Counts tasks, and estimates the time left from the pace of those that are done.

    Tasks come recording by recording, each with all candidates, so that what is done
    is a fair sample of what is left.
    """

    def __init__(self, n_total: int, n_done: int = 0):
        self.n_total = n_total
        self.n_done = n_done
        self._n_before = n_done
        self._start = time.monotonic()

    def seconds_left(self) -> float:
        """Return the estimate, nan before the first task is done."""
        n_now = self.n_done - self._n_before
        if not n_now:
            return float("nan")
        return (time.monotonic() - self._start) / n_now * (self.n_total - self.n_done)

    def __str__(self):
        left, text = self.seconds_left(), f"[{self.n_done}/{self.n_total}]"
        if self.n_done == self.n_total or left != left:
            return text
        if left < 100:
            return f"{text} {max(left, 1):.0f} s left"
        if left < 6000:
            return f"{text} {left / 60:.0f} min left"
        return f"{text} {left / 3600:.1f} h left"


def run_experiment(
    experiment: Experiment,
    folder: str | Path,
    *,
    on_result: Callable[[RunProgress, dict | None], object] | None = None,
    retry_failed: bool = False,
) -> list[dict]:
    """Run an experiment, or what is left of it.

    Parameters
    ----------
    experiment : Experiment
        From `load_experiment` or `make_experiment`.
    folder : str or Path
        The run folder. If this experiment was begun there, tasks that are done are not
        done again.
    on_result : callable, default=None
        Called with a `RunProgress` and the row of each task that is done, and at first
        with None for the row.
    retry_failed : bool, default=False
        Do tasks again that failed.

    Returns
    -------
    summary : list of dict
        As from `summarize`; also in ``summary.csv``.

    Raises
    ------
    ConfigError, SceneError
        If the data set or the backend cannot be used; nothing was separated then.
    RunError
        If the folder holds another experiment, or another process runs in it.
    OutputError
        If results cannot be written. Those before it are kept; the run can be resumed.

    See Also
    --------
    resume_experiment : Go on, knowing only the folder.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.benchmark import make_experiment, run_experiment
    >>> dataset = {"name": "convolutive", "n_scenes": 2, "duration": 1.0}
    >>> methods = {"auxiva": {"grid": {"auxiva.max_iter": [2, 5]}}}
    >>> experiment = make_experiment({"dataset": dataset, "methods": methods})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = run_experiment(experiment, folder)
    >>> sorted((row["candidate"], row["n_recordings"]) for row in summary)
    [('auxiva,max_iter=2', 2), ('auxiva,max_iter=5', 2)]
    """
    folder = Path(folder)
    data = dict(experiment.config["dataset"])
    dataset = load_dataset(data.pop("name"), **data)
    _check_recordings(dataset.names)
    environment = _check_folder(experiment, folder)
    with (
        backend(experiment.runtime) as crashes,
        ResultsFile(folder, retry_failed=retry_failed) as results,
    ):
        _check_done(results.done, experiment, dataset)
        _begin(folder, experiment, environment)
        n_total = len(dataset.names) * len(experiment.candidates)
        progress = RunProgress(n_total, len(results.done))
        on_result = on_result or (lambda progress, row: None)
        on_result(progress, None)
        tasks = _tasks(experiment, dataset, folder, results.done)
        for row in execute(tasks, crashes):
            results.append(row)
            progress.n_done += 1
            on_result(progress, row)
    return summarize(folder)


def resume_experiment(
    folder: str | Path,
    *,
    runtime: dict | None = None,
    on_result: Callable[[RunProgress, dict | None], object] | None = None,
    retry_failed: bool = False,
) -> list[dict]:
    """Go on with an experiment that was interrupted.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    runtime : dict, default=None
        What to change of where it runs: ``n_jobs``, ``backend``, ``scheduler`` and
        ``memory``.
    on_result : callable, default=None
        As for `run_experiment`.
    retry_failed : bool, default=False
        As for `run_experiment`.

    Returns
    -------
    summary : list of dict
        As from `summarize`.

    Raises
    ------
    ConfigError, SceneError, RunError, OutputError
        As `run_experiment`.

    See Also
    --------
    run_experiment : The same, knowing the experiment.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.benchmark import make_experiment, resume_experiment, run_experiment
    >>> dataset = {"name": "convolutive", "n_scenes": 2, "duration": 1.0}
    >>> experiment = make_experiment({"dataset": dataset, "methods": ["onlineauxiva"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     summary = resume_experiment(folder)  # nothing is left to do
    >>> summary[0]["n_recordings"]
    2
    """
    config = _read_config(folder)
    config["runtime"] = config.get("runtime", {}) | (runtime or {})
    experiment = make_experiment(config)
    return run_experiment(
        experiment, folder, on_result=on_result, retry_failed=retry_failed
    )


def _read_config(folder):
    path = Path(folder) / "experiment.yaml"
    try:
        return load_yaml(path)
    except ConfigError as error:
        raise RunError(f"Got {folder}, which is no run folder: {error}") from error


def _check_folder(experiment, folder):
    """Check that a folder is new or of the same experiment; return its environment."""
    path = folder / "environment.json"
    environment = describe_environment(experiment.runtime["threads"])
    environment["experiment"] = experiment.fingerprint
    if not path.exists():
        results = folder / "results.jsonl"
        if results.exists() and results.stat().st_size:
            raise RunError(f"Got {folder}, which has results but no {path.name}.")
        return environment
    before = read_environment(folder)
    if before.get("experiment") != experiment.fingerprint:
        raise RunError(
            f"Got {folder}, which has results of another experiment"
            f"{_difference(experiment.config, folder)}. Choose another folder."
        )
    _warn_of_versions(versions(before), versions(environment))
    return before | {"resumed": [*before.get("resumed", []), now()]}


def _begin(folder, experiment, environment):
    """Write what a run can be resumed by."""
    for name in ("audio", "framewise"):
        for part in (folder / name).rglob(".*.part"):  # of processes that were killed
            part.unlink(missing_ok=True)
    with replacing(folder / "experiment.yaml") as temporary:
        save_yaml(temporary, experiment.config)
    with replacing(folder / "environment.json") as temporary:
        temporary.write_text(json.dumps(environment, indent=1) + "\n", "utf-8")


def _difference(config, folder):
    """Return the first key in which the experiment of a folder differs, in words."""
    before = flatten(_read_config(folder))
    for key, there, here in _changes(before, flatten(config)):
        if key not in NOT_IN_FINGERPRINT:
            return f": there {key} is {there!r}, here {here!r}"
    return ", as its experiment.yaml was changed"


def _changes(before, after):
    """Yield the keys that have other values, with both values."""
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def _warn_of_versions(before, after):
    changed = [
        f"{name} {old} is now {new}" for name, old, new in _changes(before, after)
    ]
    if changed:
        warnings.warn(
            f"The run was begun with other versions: {', '.join(changed)}. Numbers of "
            "tasks done from now on may differ.",
            stacklevel=3,
        )


def _check_recordings(names):
    """Raise RunError if a name cannot be that of a folder in the run folder."""
    for name in names:
        parts = PurePath(name).parts
        if len(parts) != 1 or parts[0] == ".." or "\\" in name or "\0" in name:
            raise RunError(
                f"Got a recording of the name {name!r}, expected one that can be that "
                "of a folder."
            )


def _check_done(done, experiment, dataset):
    """Raise RunError if there are results of tasks that the experiment hasn't."""
    names = set(dataset.names)
    candidates = {candidate.name for candidate in experiment.candidates}
    for recording, candidate in done:
        if recording not in names or candidate not in candidates:
            raise RunError(
                f"Got a result of recording {recording!r} and candidate {candidate!r}, "
                "which the experiment doesn't have. Was the data set changed?"
            )


def _tasks(experiment, dataset, folder, done):
    """Yield the tasks that are not done, recording by recording."""
    common = {
        "run": uuid.uuid4().hex,
        "metrics": experiment.metrics,
        "ref_mic": experiment.ref_mic,
        "folder": folder.absolute(),
        "runtime": experiment.runtime,
    }
    for index, recording in enumerate(dataset.names):
        if isinstance(dataset, SceneSequence):
            # A task takes one scene along, not a list of all.
            part, place = dataset[index : index + 1], 0
        else:
            part, place = dataset, index
        for candidate in experiment.candidates:
            if (recording, candidate.name) not in done:
                yield Task(
                    dataset=part,
                    index=place,
                    recording=recording,
                    candidate=candidate,
                    seed=experiment.seed(recording, candidate.method),
                    is_first=candidate is experiment.candidates[0],
                    **common,
                )
