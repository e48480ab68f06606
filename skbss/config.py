"""Parameters from YAML files and from ``name=value`` overrides."""

# License: BSD-3-Clause

import difflib
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import yaml


class ConfigError(ValueError):
    """A configuration cannot be used; the message is one sentence."""


# What reads pickles, or any file, under names that a configuration could give.
_GENERAL = frozenset(("cloudpickle", "jinja2", "joblib", "numpy", "pandas", "yaml"))


class _Loader(yaml.SafeLoader):
    """YAML, but ``1e-4`` is a number: YAML 1.1 wants ``1.0e-4`` and reads a string.

    A name that comes twice is an error: YAML says so, PyYAML keeps the last one.
    """

    def construct_mapping(self, node, deep=False):
        """Return the mapping of a node, whose names are all different."""
        names = set()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"found {key.value!r} twice", key.start_mark
                )
            names.add(name)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """The same, and it takes numpy's scalars, which grid searches are full of."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )
_Dumper.add_multi_representer(
    np.generic,  # type: ignore[type-abstract]
    lambda dumper, value: dumper.represent_data(value.item()),
)


def _represent_str(dumper, value):
    """Escape Unicode's line breaks, which a reader would fold to a space."""
    style = '"' if set(value) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_str)


def load_yaml(path: str | Path, overrides: Sequence[str] = ()) -> dict:
    """Read a YAML file that holds a mapping.

    Parameters
    ----------
    path : str or Path
        The file. An empty one is an empty mapping.
    overrides : sequence of str, default=()
        What replaces values of the file or adds to them, each ``"name=value"``, as in
        `parse_override`, with dots in names for what is nested.

    Returns
    -------
    config : dict
        As nested as the file.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML or holds something else, or if an
        override cannot be read or is of something inside a value that holds nothing.

    See Also
    --------
    save_yaml : Writes one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skbss import load_yaml, save_yaml
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "experiment.yaml"
    ...     save_yaml(path, {"stft": {"n_fft": 4096}, "ilrma": {"n_basis": 2}})
    ...     load_yaml(path, ["ilrma.n_basis=4", "ilrma.tol=1e-4"])
    {'stft': {'n_fft': 4096}, 'ilrma': {'n_basis': 4, 'tol': 0.0001}}
    """
    try:
        config = yaml.load(Path(path).read_text("utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        message = f"Cannot read {path} as YAML: {_one_line(error)}."
        raise ConfigError(message) from error
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise ConfigError(
            f"Cannot use {path}: got a {type(config).__name__}, expected a mapping of "
            "names to values."
        )
    for text in overrides:
        _override(config, *parse_override(text))
    return config


def _override(config, name, value):
    """Set a value by its dotted name, in place."""
    head, _, rest = name.partition(".")
    if name in config or not rest:
        config[name] = value
        return
    if config.setdefault(head, {}) is None:
        config[head] = {}
    if not isinstance(config[head], dict):
        raise ConfigError(
            f"Got a value for {rest!r} in {head!r}, which is {config[head]!r} and no "
            "mapping of names to values."
        )
    _override(config[head], rest, value)


def save_yaml(path: str | Path, config: dict) -> None:
    """Write a mapping as YAML, so that `load_yaml` reads the same.

    Parameters
    ----------
    path : str or Path
        The file.
    config : dict
        Of strings, numbers, booleans, None, lists and dicts; numpy scalars become
        Python's.

    See Also
    --------
    load_yaml : Reads it, and has an example.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skbss import save_yaml
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "config.yaml"
    ...     save_yaml(path, {"method": "ilrma", "ilrma": {"n_basis": 2}})
    ...     print(path.read_text())
    method: ilrma
    ilrma:
      n_basis: 2
    <BLANKLINE>
    """
    text = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, "utf-8")


def parse_override(text):
    """Parse ``name=value``, where the value is YAML.

    Parameters
    ----------
    text : str
        For example ``"ilrma.n_basis=4"`` or ``"auxiva.source=laplace"``.

    Returns
    -------
    name : str
        What is before the first equals sign.
    value : object
        int, float, bool, None, str, list or dict.

    Raises
    ------
    ConfigError
        If there is no name, no equals sign, no value or if it is not YAML.

    Examples
    --------
    >>> from skbss.config import parse_override
    >>> parse_override("ilrma.tol=1e-4")
    ('ilrma.tol', 0.0001)
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise ConfigError(f"Got {text!r}, expected NAME=VALUE.")
    try:
        return name, yaml.load(value, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        message = f"Cannot read the value of {text!r} as YAML: {_one_line(error)}."
        raise ConfigError(message) from error


def flatten(config):
    """Turn nested mappings into one with dotted names.

    Parameters
    ----------
    config : dict
        Nested or dotted or both.

    Returns
    -------
    flat : dict
        No value is a mapping; for the same name the last one counts.

    Examples
    --------
    >>> from skbss.config import flatten
    >>> flatten({"stft": {"n_fft": 4096}, "ilrma.n_basis": 2})
    {'stft.n_fft': 4096, 'ilrma.n_basis': 2}
    """
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{rest}": v for rest, v in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def set_params(estimator, config):
    """Set parameters of an estimator by dotted names.

    Parameters
    ----------
    estimator : estimator instance
        Often a Pipeline, whose steps' parameters are ``step.parameter``.
    config : dict
        Nested, as a YAML file has it, or with dotted names.

    Returns
    -------
    estimator : estimator instance
        The one that was given.

    Raises
    ------
    ConfigError
        If there is no such parameter; the message tells the nearest right name.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss.config import set_params
    >>> set_params(make_pipeline(PCA()), {"pca": {"n_components": 2}})
    Pipeline(steps=[('pca', PCA(n_components=2))])
    >>> set_params(make_pipeline(PCA()), {"pca.n_component": 2})
    Traceback (most recent call last):
    skbss.config.ConfigError: Got unknown parameter 'pca.n_component'. Did you mean
    'pca.n_components'?
    """
    names = _parameter_names(estimator)
    config = flatten(config)
    for name in config:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(f"Got unknown parameter {name!r}.{hint}")
    params = {name.replace(".", "__"): value for name, value in config.items()}
    return estimator.set_params(**params)


def configure(estimator, config):
    """Set parameters by dotted names and check the values of all there are.

    Parameters
    ----------
    estimator : estimator instance
        As for `set_params`.
    config : dict
        As for `set_params`.

    Returns
    -------
    estimator : estimator instance
        The one that was given.

    Raises
    ------
    ConfigError
        If there is no such parameter, or a value is none that its estimator takes.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbss.config import configure
    >>> configure(make_pipeline(PCA()), {"pca.whiten": "always"})
    Traceback (most recent call last):
    skbss.config.ConfigError: The 'whiten' parameter of PCA must be an instance of
    'bool' or an instance of 'numpy.bool'. Got 'always' instead.
    """
    set_params(estimator, config)
    try:
        for part in (estimator, *estimator.get_params().values()):
            if hasattr(part, "_parameter_constraints") and not isinstance(part, type):
                part._validate_params()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return estimator


def did_you_mean(name, names):
    """Return a question with the name that is nearest, or all names if none is near.

    Parameters
    ----------
    name : str
        What the user wrote.
    names : iterable of str
        What would have been right.

    Returns
    -------
    hint : str
        The end of an error message, with a space before it.
    """
    names = sorted(names)
    below = [right for right in names if right.startswith(f"{name}.")]
    same_end = [right for right in names if right.split(".")[-1] == name.split(".")[-1]]
    near = same_end or difflib.get_close_matches(name, names, n=1)
    if near and not below:
        return f" Did you mean {' or '.join(map(repr, near))}?"
    return f" Expected one of {', '.join(below or names)}."


def import_attribute(path, what=""):
    """Import a function or class from ``module:attribute``.

    Parameters
    ----------
    path : str
        For example ``"sklearn.decomposition:FastICA"``.
    what : str, default=''
        What it is to be, for the messages, with a space after it.

    Returns
    -------
    attribute : callable
        What it names.

    Raises
    ------
    ConfigError
        If there is no such module or attribute, if it cannot be called, or if it is of
        Python's own library or a package that reads any file, such as numpy and joblib,
        in which nothing separates, scores or loads recordings.
    """
    module, _, attribute = path.partition(":")
    try:
        found = import_module(module)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"Cannot import {what}{path!r}: {error}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [name for name in dir(found) if name[0] != "_"])
            # With nothing near, all names of a module would fill the screen.
            hint = hint if hint.startswith(" Did") else ""
            raise ConfigError(f"Got {what}{path!r}, which is not in {module}.{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"Got {what}{path!r}, which is a {type(found).__name__}, expected a "
            "function or a class."
        )
    defined = str(getattr(getattr(found, "func", found), "__module__", ""))
    packages = {module.split(".")[0], defined.split(".")[0]}
    if packages & (sys.stdlib_module_names | _GENERAL):
        owner = packages & _GENERAL
        owner = f"of {min(owner)}" if owner else "of Python's own library"
        raise ConfigError(
            f"Got {what}{path!r}, which is {owner}, expected something made for "
            "recordings."
        )
    return found


def _parameter_names(estimator):
    """Names that take a value: a step of a pipeline is none, it has parameters."""
    return {
        name.replace("__", ".")
        for name, value in estimator.get_params().items()
        if name.split("__")[-1] != "steps" and not hasattr(value, "get_params")
    }


def _one_line(error):
    """Return the message of an error without its line breaks and its last period."""
    return " ".join(str(error).split()).rstrip(".")
