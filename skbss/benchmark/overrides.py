"""Overrides from the command line: ``--set`` and ``--grid``."""

# License: BSD-3-Clause

from skbss.benchmark.schema import RUNTIME, SECTIONS, check_keys
from skbss.config import ConfigError, did_you_mean, parse_override


def override(config: dict, text: str, parameters: dict[str, set[str]]) -> None:
    """Set what ``name=value`` says in a config that `fill_in` returned, in place.

    The name is that of a key of the file, such as ``dataset.limit``, or
    ``step.parameter``, which is set in all methods that have it, and taken out of
    their grids. `parameters` has the names of those of each method.
    """
    name, value = parse_override(text)
    section, _, rest = name.partition(".")
    if section in ("dataset", "runtime", "stft") and rest:
        config[section][rest] = value
    elif name in ("name", "metrics"):
        config[name] = value
    elif section == "methods" and rest.count(".") >= 2:
        label, kind, param = rest.split(".", 2)
        method = _method(config, label)
        check_keys([kind], ("params", "grid"), f"methods.{label}.")
        method[kind][param] = value
    else:
        for label in _methods_with(name, parameters):
            config["methods"][label]["params"][name] = value
            config["methods"][label]["grid"].pop(name, None)


def override_grid(config: dict, text: str, parameters: dict[str, set[str]]) -> None:
    """Set values to try, as `override` does.

    ``step.parameter=value,value`` is for all methods that have the parameter, and
    ``methods.<method>.step.parameter=value,value`` for one.
    """
    name, _, values = text.partition("=")
    if not values.strip().startswith("["):
        text = f"{name}=[{values}]" if values.strip() else text
    name, values = parse_override(text)
    if name.startswith("methods."):
        label, _, param = name.removeprefix("methods.").partition(".")
        param = param.removeprefix("grid.")
        _method(config, label)["grid"][param] = values
        return
    for label in _methods_with(name, parameters):
        config["methods"][label]["grid"][name] = values


def _method(config, label):
    if label not in config["methods"]:
        hint = did_you_mean(label, config["methods"])
        raise ConfigError(f"Got unknown method {label!r}.{hint}")
    return config["methods"][label]


def _methods_with(name, parameters):
    labels = [label for label, names in parameters.items() if name in names]
    if not labels:
        known = set().union(*parameters.values())
        known |= {f"runtime.{key}" for key in RUNTIME} | set(SECTIONS)
        # With nothing near, all names of all methods would fill the screen.
        hint = did_you_mean(name, known)
        hint = hint if hint.startswith(" Did") else " See doc/benchmarking.rst."
        raise ConfigError(f"Got unknown name {name!r}.{hint}")
    return labels
