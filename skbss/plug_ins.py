"""Names for what users and other packages add: methods, data sets and metrics."""

# License: BSD-3-Clause

from importlib.metadata import entry_points

from skbss.config import ConfigError


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


def find_plug_in(kind, name):
    """Return what an installed package offers under a name, by its entry points.

    Parameters
    ----------
    kind : {'methods', 'datasets', 'metrics'}
        The group is ``skbss.`` and this.
    name : str
        What is looked for.

    Returns
    -------
    plug_in : object or None
        None if no package has one of this name.

    Raises
    ------
    ConfigError
        If it cannot be imported.
    """
    for point in entry_points(group=f"skbss.{kind}", name=str(name)):
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"Cannot import {point.value!r}, the entry point {name!r} of "
                f"skbss.{kind}: {error}."
            ) from error
    return None
