"""An experiment: what a YAML file says, checked whole before anything runs."""

# License: BSD-3-Clause

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline

from skbss.benchmark.overrides import override, override_grid
from skbss.benchmark.schema import fill_in
from skbss.benchmark.scoring import check_framewise, find_metrics
from skbss.config import ConfigError, configure, flatten, load_yaml
from skbss.datasets import check_dataset
from skbss.methods import build, find_method
from skbss.transforms import STFT

NOT_IN_FINGERPRINT = (
    "name",
    *(f"runtime.{name}" for name in ("n_jobs", "backend", "scheduler", "memory")),
)
_MAX_NAME = 120  # of a folder; 255 bytes is what file systems take


@dataclass(frozen=True)
class Candidate:
    """A method with values for its parameters."""

    name: str  # unique in the experiment, safe as that of a folder
    method: str  # what the experiment calls it
    factories: list[Callable]  # of its steps
    fixed: dict  # parameters that all candidates of the method share, by dotted names
    params: dict  # those of the grid

    def make(
        self, sample_rate: float, *, ref_mic: int = 0, seed: int = 0, n_mics: int = 2
    ) -> Pipeline:
        """Make the pipeline, as `make_method` does, with checked parameters."""
        pipeline = build(
            self.factories,
            sample_rate=sample_rate,
            ref_mic=ref_mic,
            random_state=seed,
            n_mics=n_mics,
        )
        return configure(pipeline, self.fixed | self.params)


@dataclass(frozen=True)
class Experiment:
    """Methods to compare over a data set.

    Make one with `load_experiment` or `make_experiment`, which check it.

    Parameters
    ----------
    config : dict
        What the YAML file says, defaults filled in and overrides applied.
    candidates : list of Candidate
        Every method with every combination of its grid.
    metrics : dict of str to callable
        The metrics by name.

    Examples
    --------
    >>> from skbss.benchmark import make_experiment
    >>> config = {"dataset": "cocktail_party", "methods": ["auxiva"]}
    >>> experiment = make_experiment(config)
    >>> list(experiment.candidates[0].make(16_000).named_steps)
    ['stft', 'auxiva', 'projectionback', 'istft', 'loudestfirst']
    """

    config: dict
    candidates: list[Candidate] = field(repr=False)
    metrics: dict[str, Callable] = field(repr=False)

    @property
    def runtime(self) -> dict:
        """How to run it: the section of that name."""
        return self.config["runtime"]

    @property
    def ref_mic(self) -> int:
        """The microphone of the references."""
        return self.config["dataset"].get("ref_mic", 0)

    @property
    def fingerprint(self) -> str:
        """Digest of all that numbers depend on: not of where and how fast it runs."""
        flat = flatten(self.config)
        # Of an empty mapping, flatten leaves nothing: methods count by themselves.
        flat = {name: flat[name] for name in flat if name not in NOT_IN_FINGERPRINT}
        named = [flat, list(self.config["methods"])]
        text = json.dumps(named, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def seed(self, recording: str, method: str) -> int:
        """Return the seed of a task: it depends on nothing but names and the base seed.

        All candidates of a method have the same one, so that they differ by what is
        compared and not by chance, and that steps which are the same can be reused.

        Parameters
        ----------
        recording, method : str
            Their names.

        Returns
        -------
        seed : int
            Less than 2**31.
        """
        text = "\n".join([str(self.runtime["seed"]), recording, method])
        digest = hashlib.sha256(text.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:4], "big") >> 1


def load_experiment(
    path: str | Path, *, overrides: Sequence[str] = (), grids: Sequence[str] = ()
) -> Experiment:
    """Read an experiment from a YAML file and check it.

    Parameters
    ----------
    path : str or Path
        The file.
    overrides : sequence of str, default=()
        ``name=value`` with dotted names: of the file's keys, or ``step.parameter``,
        which is set in every method that has it.
    grids : sequence of str, default=()
        ``step.parameter=value,value``: values to try in every method that has that
        parameter, or ``methods.<method>.step.parameter=...`` in one.

    Returns
    -------
    experiment : Experiment
        What `run_experiment` runs.

    Raises
    ------
    ConfigError
        If the file cannot be read, has unknown keys or values, or if a method, its
        parameters, a metric or the data set cannot be used. The message names the key
        and the nearest right one.

    See Also
    --------
    make_experiment : The same from a dict.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skbss import save_yaml
    >>> from skbss.benchmark import load_experiment
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "voices.yaml"
    ...     save_yaml(path, {"dataset": "cocktail_party", "methods": ["auxiva"]})
    ...     experiment = load_experiment(path, overrides=["stft.n_fft=4096"])
    >>> experiment.config["name"], experiment.config["stft"]
    ('voices', {'n_fft': 4096})
    """
    try:
        config = {"name": Path(path).stem} | load_yaml(path)
        return make_experiment(config, overrides=overrides, grids=grids)
    except ConfigError as error:
        text = str(error)
        prefix = "" if str(path) in text else f"{Path(path)}: "
        raise ConfigError(f"{prefix}{text}") from error


def make_experiment(
    config: dict, *, overrides: Sequence[str] = (), grids: Sequence[str] = ()
) -> Experiment:
    """Make an experiment from what a YAML file would say.

    Parameters
    ----------
    config : dict
        The sections ``dataset``, ``stft``, ``methods``, ``metrics`` and ``runtime``.
    overrides : sequence of str, default=()
        As for `load_experiment`.
    grids : sequence of str, default=()
        As for `load_experiment`.

    Returns
    -------
    experiment : Experiment
        What `run_experiment` runs.

    Raises
    ------
    ConfigError
        As for `load_experiment`.

    Examples
    --------
    >>> from skbss.benchmark import make_experiment
    >>> experiment = make_experiment(
    ...     {"dataset": "cocktail_party", "methods": ["auxiva", "ilrma"]},
    ...     grids=["ilrma.n_basis=2,4"],
    ... )
    >>> [candidate.name for candidate in experiment.candidates]
    ['auxiva', 'ilrma,n_basis=2', 'ilrma,n_basis=4']
    """
    config = fill_in(config)
    factories, parameters = {}, {}
    for label, method in config["methods"].items():
        with _of_key(f"methods.{label}"):
            factories[label] = find_method(method.get("pipeline") or method["method"])
            parameters[label] = _parameters(factories[label])
    for text in overrides:
        override(config, text, parameters)
    for text in grids:
        override_grid(config, text, parameters)
    config = fill_in(config)  # again: an override may be what is wrong
    with _of_key("dataset"):
        dataset = dict(config["dataset"])
        check_dataset(dataset.pop("name"), dataset)
    metrics = find_metrics(config["metrics"])
    if isinstance(config["runtime"]["framewise"], dict):
        check_framewise(config["runtime"]["framewise"])
    candidates = [
        candidate
        for label, method in config["methods"].items()
        for candidate in _candidates(label, method, factories[label], config)
    ]
    _check_names(candidates)
    experiment = Experiment(config, candidates, metrics)
    for candidate in candidates:
        _check_candidate(candidate, experiment.ref_mic)
    return experiment


def _parameters(factories):
    """Names of the parameters of a method, dotted."""
    pipeline = Candidate("", "", factories, {}, {}).make(16_000)
    return {name.replace("__", ".") for name in pipeline.get_params() if "__" in name}


def _candidates(label, method, factories, config):
    """Yield the candidates of a method, in the order of the grid."""
    stft = config["stft"] if "stft.n_fft" in _parameters(factories) else {}
    fixed = {f"stft.{name}": value for name, value in stft.items()} | method["params"]
    grid = method["grid"]
    leaves = [name.rsplit(".", 1)[-1] for name in grid]
    short = {
        name: leaf if leaves.count(leaf) == 1 else name
        for name, leaf in zip(grid, leaves, strict=True)
    }
    for values in ParameterGrid(grid):
        params = {name: values[name] for name in grid}
        parts = [label, *(f"{short[name]}={params[name]}" for name in grid)]
        yield Candidate(_file_name(parts), label, factories, fixed, params)


def _file_name(parts):
    """Join to a name that is safe as that of a folder."""
    name = ",".join(re.sub(r"[^\w.=+-]+", "_", part).strip(" .") for part in parts)
    if len(name.encode()) > _MAX_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = name.encode()[: _MAX_NAME - 9].decode(errors="ignore") + f"_{digest}"
    return name


def _check_names(candidates):
    """Raise ConfigError where a candidate's folder would be another's, or a file."""
    names = [candidate.name.casefold() for candidate in candidates]
    for candidate, name in zip(candidates, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(
                f"Got two candidates {candidate.name!r} in methods, expected different "
                "names and values: they are also the names of folders."
            )
        if re.fullmatch(r"(mixture|reference_\d+)\.wav", name):
            raise ConfigError(
                f"Got a candidate {candidate.name!r} in methods, which is the name of "
                "a file beside the candidates' folders. Expected another name."
            )


def _check_candidate(candidate, ref_mic):
    """Raise ConfigError if the pipeline of a candidate cannot be made."""
    with _of_key(f"methods.{candidate.method}"):
        pipeline = candidate.make(16_000, ref_mic=ref_mic)
        if not isinstance(pipeline, Pipeline):
            raise ConfigError(f"Got a {type(pipeline).__name__}, expected a Pipeline.")
        for _, step in pipeline.steps:
            if isinstance(step, STFT):
                step.fit(np.zeros((2, 2)))  # finds hops that cannot be inverted


@contextmanager
def _of_key(key):
    """Name the key of the file in errors about what it says."""
    try:
        yield
    except (ValueError, TypeError, MemoryError, ImportError) as error:
        raise ConfigError(f"In {key}: {error}") from error
