"""The keys of an experiment's YAML file, their defaults and what they may be."""

# License: BSD-3-Clause

from numbers import Integral
from pathlib import Path

from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS

from skbss.config import ConfigError, did_you_mean, flatten
from skbss.sklearn_parts import Interval, Options, make_constraint

SECTIONS = ("name", "dataset", "stft", "methods", "metrics", "runtime")
METHOD_KEYS = ("method", "pipeline", "params", "grid")

RUNTIME = {
    "n_jobs": None,
    "backend": None,
    "scheduler": None,
    "threads": 1,
    "seed": 0,
    "save_audio": True,
    "framewise": False,
    "memory": None,
}
_POSITIVE = Interval(Integral, 1, None, closed="left")
_CONSTRAINTS = {
    "n_jobs": [_POSITIVE, Options(Integral, {-1}), None],
    "backend": [str, None],
    "scheduler": [str, None],
    "threads": [_POSITIVE],
    "seed": [Interval(Integral, 0, None, closed="left")],
    "save_audio": ["boolean"],
    "framewise": ["boolean", dict],
    "memory": [str, None],
}
METRICS = ["si_sdr", "si_sdr_improvement"]


def fill_in(config: dict) -> dict:
    """Check the keys of an experiment and return it with all sections and defaults.

    `stft`, and `params` and `grid` of methods, are by dotted names there. Raises
    ConfigError if a key is unknown or missing, or a value is none that it takes.
    """
    _check_keys(config, SECTIONS, "")
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
    dataset = dict(dataset)
    if isinstance(dataset.get("folder"), str):
        # The run may be resumed from elsewhere.
        dataset["folder"] = str(Path(dataset["folder"]).expanduser().absolute())
    return dataset


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
    _check_keys(method, METHOD_KEYS, f"{key}.")
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
    _check_keys(runtime, RUNTIME, "runtime.")
    runtime = RUNTIME | runtime
    if isinstance(runtime["memory"], str):
        # The run may be resumed from elsewhere.
        runtime["memory"] = str(Path(runtime["memory"]).expanduser().absolute())
    for name, value in runtime.items():
        constraints = [make_constraint(c) for c in _CONSTRAINTS[name]]
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


def _check_keys(mapping, known, prefix):
    for name in mapping:
        if name not in known:
            hint = did_you_mean(f"{prefix}{name}", [f"{prefix}{k}" for k in known])
            raise ConfigError(f"Got unknown key {f'{prefix}{name}'!r}.{hint}")
