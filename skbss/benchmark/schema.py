"""The keys of an experiment's YAML file, their defaults and what they may be."""

# License: BSD-3-Clause

from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS

from skbss.config import ConfigError, did_you_mean, flatten
from skbss.sklearn_parts import Interval, Options, make_constraint

SECTIONS = ("name", "dataset", "stft", "methods", "metrics", "runtime")
METHOD_KEYS = ("method", "pipeline", "params", "grid")

_POSITIVE = Interval(Integral, 1, None, closed="left")
_RUNTIME = {  # the default, and what it may be
    "n_jobs": (None, [_POSITIVE, Options(Integral, {-1}), None]),
    "backend": (None, [str, None]),
    "scheduler": (None, [str, None]),
    "threads": (1, [_POSITIVE]),
    "seed": (0, [Interval(Integral, 0, None, closed="left")]),
    "save_audio": (True, ["boolean"]),
    "framewise": (False, ["boolean", dict]),
    "memory": (None, [str, None]),
}
RUNTIME = {name: default for name, (default, _) in _RUNTIME.items()}
METRICS = ["si_sdr", "si_sdr_improvement"]


def fill_in(config: dict) -> dict:
    """Check the keys of an experiment and return it with all sections and defaults.

    `stft`, and `params` and `grid` of methods, are by dotted names there. Raises
    ConfigError if a key is unknown or missing, or a value is none that it takes.
    """
    check_keys(config, SECTIONS, "")
    for name in ("dataset", "methods"):
        if not config.get(name):
            raise ConfigError(f"Got no key {name!r}, expected one.")
    return {
        "name": str(config.get("name", "")),
        "dataset": _dataset(config["dataset"]),
        "stft": flatten(_mapping(config.get("stft"), "stft")),
        "methods": _methods(config["methods"]),
        "metrics": _metrics(config.get("metrics")),
        "runtime": _runtime(_mapping(config.get("runtime"), "runtime")),
    }


def _dataset(dataset):
    if isinstance(dataset, str):
        return {"name": dataset}
    dataset = _mapping(dataset, "dataset")
    if "name" not in dataset:
        raise ConfigError("Got no key 'dataset.name', expected one.")
    return _with_absolute_path(dataset, "folder")


def _with_absolute_path(mapping, key):
    """Since the run may be resumed from elsewhere."""
    if isinstance(path := mapping.get(key), str):
        return mapping | {key: str(Path(path).expanduser().absolute())}
    return dict(mapping)


def _methods(methods):
    if isinstance(methods, str):
        methods = [methods]
    if isinstance(methods, list):
        if repeated := [m for m in methods if methods.count(m) > 1]:
            raise ConfigError(f"Got {repeated[0]!r} twice in methods.")
        methods = {str(method): None for method in methods}
    return {
        str(label): _method(str(label), _mapping(method, f"methods.{label}"))
        for label, method in _mapping(methods, "methods").items()
    }


def _method(label, method):
    key = f"methods.{label}"
    check_keys(method, METHOD_KEYS, f"{key}.")
    if "method" in method and "pipeline" in method:
        raise ConfigError(f"Got both {key}.method and {key}.pipeline, expected one.")
    steps = method.get("pipeline")
    if "pipeline" in method and not (isinstance(steps, list) and steps):
        raise ConfigError(f"Got {key}.pipeline={steps!r}, expected a list of steps.")
    kind = {"pipeline": steps} if steps else {"method": method.get("method", label)}
    grid = flatten(_mapping(method.get("grid"), f"{key}.grid"))
    for param, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"Got {key}.grid.{param}={values!r}, expected a list of values."
            )
    params = flatten(_mapping(method.get("params"), f"{key}.params"))
    return {**kind, "params": params, "grid": grid}


def _metrics(metrics):
    metrics = METRICS if metrics is None else metrics
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(metrics, list) or len(set(map(str, metrics))) < len(metrics):
        raise ConfigError(f"Got metrics={metrics!r}, expected a list of names.")
    return list(metrics)


def _runtime(runtime):
    check_keys(runtime, RUNTIME, "runtime.")
    runtime = _with_absolute_path(RUNTIME | runtime, "memory")
    for name, value in runtime.items():
        constraints = [make_constraint(c) for c in _RUNTIME[name][1]]
        if not any(c.is_satisfied_by(value) for c in constraints):
            expected = " or ".join(map(str, constraints))
            raise ConfigError(f"Got runtime.{name}={value!r}, expected {expected}.")
    backends = {*BACKENDS, *EXTERNAL_BACKENDS}
    if runtime["backend"] not in {*backends, None}:
        hint = did_you_mean(runtime["backend"], backends)
        raise ConfigError(f"Got runtime.backend={runtime['backend']!r}.{hint}")
    if runtime["scheduler"] is not None and runtime["backend"] != "dask":
        raise ConfigError(
            f"Got runtime.scheduler={runtime['scheduler']!r} with runtime.backend="
            f"{runtime['backend']!r}, expected the backend 'dask'."
        )
    return runtime


def _mapping(value, key):
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"Got {key}={value!r}, expected a mapping of names to values."
        )
    return value


def check_keys(mapping: Iterable[str], known: Iterable[str], prefix: str) -> None:
    """Raise ConfigError if a key, which has a prefix in the file, is unknown."""
    for name in mapping:
        if name not in known:
            hint = did_you_mean(f"{prefix}{name}", [f"{prefix}{k}" for k in known])
            raise ConfigError(f"Got unknown key {f'{prefix}{name}'!r}.{hint}")
