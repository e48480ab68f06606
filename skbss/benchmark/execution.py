"""Tasks in joblib's processes or on a Dask cluster, some of which may be lost."""

# License: BSD-3-Clause

import warnings
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from threading import Lock

from joblib import Parallel, delayed, parallel_config

from skbss.benchmark.task import Task, failed_row, run_task
from skbss.config import ConfigError

_CONNECT_SECONDS = 20


def execute(
    tasks: Iterator[Task], crashes: tuple[type[Exception], ...]
) -> Iterator[dict]:
    """Yield the rows of tasks as they are done.

    A task whose process is killed, as by a lack of memory, which the backend tells by
    one of `crashes`, fails alone: the tasks that were under way are done again one by
    one, which shows which it was. If a task cannot write its results, OutputError is
    raised, and the others are given up.
    """
    source = None
    while source is None or source.closed:
        source = _Source(tasks)
        try:
            with warnings.catch_warnings():
                # What is given up is done again, at once or when the run is resumed.
                warnings.filterwarnings("ignore", ".*still being processed")
                parallel = Parallel(return_as="generator_unordered", batch_size=1)
                for row in parallel(source):
                    source.under_way.pop((row["recording"], row["candidate"]))
                    yield row
        except crashes:
            for task in source.close():
                yield _run_alone(task, crashes)


class _Source(Iterator):
    """Hands out tasks to joblib's threads, and remembers those under way."""

    def __init__(self, tasks):
        self.tasks = tasks
        self.under_way = {}
        self.closed = False
        self._lock = Lock()

    def __next__(self):
        with self._lock:
            if self.closed:
                raise StopIteration
            task = next(self.tasks)
            self.under_way[task.recording, task.candidate.name] = task
            return delayed(run_task)(task)

    def close(self):
        """Hand out no more, and return the tasks under way."""
        with self._lock:
            self.closed = True
            return list(self.under_way.values())


def _run_alone(task, crashes):
    try:
        return Parallel()([delayed(run_task)(task)])[0]
    except crashes as error:
        return failed_row(task, error)


@contextmanager
def backend(runtime: dict) -> Iterator[tuple[type[Exception], ...]]:
    """Configure joblib; yield the exceptions by which it tells that a process ended.

    Raises ConfigError if the backend cannot be used.
    """
    name, n_jobs = runtime["backend"], runtime["n_jobs"]
    if name == "dask":
        connected = _connect(runtime["scheduler"])
        with connected as crashes, parallel_config("dask", n_jobs=n_jobs or -1):
            yield crashes
    elif name is None and n_jobs is None:
        yield (BrokenExecutor,)  # as a parallel_config around it says
    else:
        options = {}
        if name in (None, "loky"):
            options["inner_max_num_threads"] = runtime["threads"]
        with parallel_config(name or "loky", n_jobs=n_jobs, **options):
            yield (BrokenExecutor,)


@contextmanager
def _connect(scheduler):
    """Connect to a Dask cluster."""
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise ConfigError(
            "Got runtime.backend='dask', which needs the package distributed. Install "
            "it by the extra 'cluster': pip install 'skbss[cluster]'."
        ) from error
    if scheduler is None:
        raise ConfigError(
            "Got runtime.backend='dask' without runtime.scheduler, expected its "
            "address, such as 'tcp://10.0.0.1:8786'."
        )
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot connect to runtime.scheduler={scheduler!r}: {error}."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError as error:
            raise ConfigError(
                f"Got runtime.scheduler={scheduler!r}, which has no workers."
            ) from error
        yield (BrokenExecutor, KilledWorker)
