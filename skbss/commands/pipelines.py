"""Pipelines by the names and parameters that are given to commands."""

# License: BSD-3-Clause

import inspect

import numpy as np
from sklearn.base import clone

from skbss.config import (
    ConfigError,
    configure,
    did_you_mean,
    flatten,
    load_yaml,
    parse_override,
)
from skbss.methods import build, find_method, methods

# Parameters of `make_separator`, not of one step.
FLAGS = "denoise", "dereverberate"
OF_ALL = "n_sources", "ref_mic", "target", *FLAGS


def read_params(args, default_method="refined"):
    """Return the method and the parameters by dotted names."""
    params = flatten(load_yaml(args.config)) if args.config else {}
    params.update(parse_override(text) for text in args.set)
    for name in OF_ALL:
        if getattr(args, name, None) is not None:
            params[name] = getattr(args, name)
    if "target" in params:
        params["target"] = parse_time(params["target"])
    method = params.pop("method", default_method)
    return args.method or method, params


def parse_time(text):
    """Return the start and the end, in seconds, of what is given as 3.0-8.5."""
    try:
        start, end = map(float, text.split("-") if isinstance(text, str) else text)
        is_time = 0 <= start < end < float("inf")
    except (TypeError, ValueError):
        is_time = False
    if not is_time:
        raise ConfigError(
            f"Got target {text!r}, expected a time of the recording in seconds, such "
            "as 3.0-8.5."
        )
    return start, end


def build_pipeline(method, params, sample_rate, n_mics=2):
    """Return the pipeline of the command, with checked parameters.

    Parameters
    ----------
    method : str
        Name of the method, or ``module:attribute``.
    params : dict
        Values by dotted names. "n_sources", "ref_mic", "target", "denoise" and
        "dereverberate" are those of `make_separator`.
    sample_rate : float
        In Hz.
    n_mics : int, default=2
        Number of microphones.

    Returns
    -------
    pipeline : Pipeline
        From signals (n_samples, n_mics) to (n_samples, n_sources).

    Raises
    ------
    ConfigError
        If a name or a value is wrong.

    Examples
    --------
    >>> from skbss.commands.pipelines import build_pipeline
    >>> [name for name, step in build_pipeline("ilrma", {}, 16_000).steps]
    ['stft', 'ilrma', 'projectionback', 'istft', 'loudestfirst']
    """
    factories = find_method(method)
    of_all = {key: params[key] for key in OF_ALL if key in params}
    for flag in FLAGS:
        if not isinstance(of_all.get(flag, False), bool):
            raise ConfigError(f"Got {flag}={of_all[flag]!r}, expected true or false.")
    taken = inspect.signature(factories[0]).parameters
    for name, value in of_all.items():
        if name not in taken and name != "ref_mic":
            raise ConfigError(
                f"Got {name}={value!r}, which method {method!r} doesn't take."
            )
    context = {"ref_mic": 0, "random_state": 0} | of_all
    pipeline = build(factories, sample_rate=sample_rate, n_mics=n_mics, **context)
    return configure(pipeline, {k: v for k, v in params.items() if k not in of_all})


def reference_of(pipeline, default=0):
    """Return the reference microphone of a pipeline, or a default if it tells none."""
    params = pipeline.get_params()
    names = "sources", "first__projectionback", "projectionback"
    for prefix in ("", "blockbatch__estimator__"):
        for name in names:
            if (key := f"{prefix}{name}__ref_mic") in params and "microphone" not in (
                pipeline.named_steps
            ):
                if params[key] == "sum":  # which suits a pass after this one
                    dotted = key.removesuffix("__ref_mic").replace("__", ".")
                    raise ConfigError(f"Got {dotted}.ref_mic='sum', expected a number.")
                return params[key]
    return default


def check_method(method, methods):
    """Raise ConfigError if there is no such method."""
    if method not in methods:
        hint = did_you_mean(str(method), methods)
        raise ConfigError(f"Got unknown method {method!r}.{hint}")


def check_window(stft):
    """Raise ConfigError if the transform isn't invertible or too large for memory."""
    try:
        clone(stft).set_params(min_frames=None).fit(np.zeros((2, 2)))
    except (TypeError, ValueError, MemoryError) as error:
        raise ConfigError(str(error)) from error


def list_methods():
    """Return a line for each method: its name and what it does."""
    known = methods()
    width = max(map(len, known))
    return "\n".join(f"{name:<{width}}  {m.summary}" for name, m in known.items())
