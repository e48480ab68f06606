"""Names for what users and other packages add: methods, data sets and metrics."""

# License: BSD-3-Clause

from importlib.metadata import entry_points

from skbss.config import ConfigError, did_you_mean, import_attribute


def check_name(name, own, what):
    """Raise ConfigError if something can't be registered under a name.

    Parameters
    ----------
    name : str
        The name.
    own : collection of str
        The package's own names.
    what : str
        What is registered, for the message.
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise ConfigError(f"Got {what} {name!r}, expected a name without a colon.")
    if name in own:
        raise ConfigError(
            f"Got {what} {name!r}, but skbss has one of this name. Expected another."
        )


def find(name, known, what):
    """Return what has a name.

    Parameters
    ----------
    name : str
        One of `known`, ``module:attribute`` of something that can be imported, or what
        an installed package offers by its entry points.
    known : dict of str to object
        What needs no import.
    what : {'method', 'step', 'data set', 'metric'}
        What is looked for, for the messages. The group of entry points is named after
        it: ``skbss.methods``, ``skbss.datasets``, ``skbss.metrics``.

    Returns
    -------
    found : object
        What has the name.

    Raises
    ------
    ConfigError
        If there is nothing of this name, or it cannot be imported.
    """
    if name in known:
        return known[name]
    if ":" in str(name):
        return import_attribute(name, f"{what} ")
    group = f"skbss.{what.replace(' ', '')}s"
    for point in entry_points(group=group, name=str(name)):
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"Cannot import {point.value!r}, the entry point {name!r} of {group}: "
                f"{error}."
            ) from error
    raise ConfigError(f"Got unknown {what} {name!r}.{did_you_mean(str(name), known)}")
