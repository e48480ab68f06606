"""Data sets by name: the package's own and those of users."""

# License: BSD-3-Clause

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from skbss.config import ConfigError, did_you_mean
from skbss.datasets.generated import (
    cocktail_party_scenes,
    convolutive_scenes,
    room_scenes,
)
from skbss.datasets.scene_folder import SceneFolder
from skbss.datasets.sequence import SceneList
from skbss.plug_ins import check_name, find

_LOADERS = {
    "scenes": SceneFolder,
    "cocktail_party": cocktail_party_scenes,
    "convolutive": convolutive_scenes,
    "room": room_scenes,
}
_OWN = frozenset(_LOADERS)


def register_dataset(name: str, loader: Callable) -> None:
    """Give a data set a name for :func:`load_dataset` and for experiments.

    Parameters
    ----------
    name : str
        Without a colon. Names of the package are refused; a name of one's own may be
        registered again, as when a notebook's cell runs twice, and is replaced.
    loader : callable
        Takes keyword arguments and returns a sequence of scenes, see
        :func:`load_dataset`.

    See Also
    --------
    load_dataset : What uses the name. A loader that is not registered has the name
        ``"package.module:attribute"``, which works in other processes too.

    Examples
    --------
    >>> from skbss.datasets import load_dataset, make_convolutive_mixture
    >>> from skbss.datasets import register_dataset
    >>> def one_second(n_sources=2):
    ...     X, y = make_convolutive_mixture(16000, n_sources, random_state=0)
    ...     return [
    ...         {"name": "a", "mixture": X, "references": y, "sample_rate": 16000}
    ...     ]
    >>> register_dataset("one_second", one_second)
    >>> load_dataset("one_second", n_sources=3)[0].mixture.shape
    (16000, 3)
    """
    check_name(name, _OWN, "data set")
    if not callable(loader):
        raise ConfigError(
            f"Got {loader!r} as the loader of data set {name!r}, expected a callable."
        )
    _LOADERS[name] = loader


def load_dataset(name: str, /, **params: Any) -> Any:
    """Return a data set: a sequence of recordings with their sources.

    Parameters
    ----------
    name : str
        ``"scenes"`` (:class:`SceneFolder`), ``"cocktail_party"``, ``"convolutive"``,
        ``"room"``, a name from :func:`register_dataset`, or
        ``"package.module:attribute"`` for a loader that can be imported.
    **params : dict
        Parameters of the loader. See the Notes for those of the package's own.

    Returns
    -------
    dataset : sequence of Bunch
        It has a length, can be indexed and iterated, and has the list `names`. Each
        scene has

        name : str
            Unique in the data set.
        mixture : ndarray of shape (n_samples, n_mics)
            What the microphones recorded.
        references : ndarray of shape (n_samples, n_sources)
            Each source at the reference microphone, if they are known.
        sample_rate : int
            In Hz.

        and possibly `images` of shape (n_sources, n_samples, n_mics) and `metadata`, a
        dict.

    Raises
    ------
    ConfigError
        If there is no such data set or parameter, with the nearest right name; nothing
        is loaded then.

    See Also
    --------
    SceneFolder : Scenes on disk.
    register_dataset : Add a name.
    check_dataset : Check name and parameters without loading.

    Notes
    -----
    ``"scenes"`` takes the parameters of :class:`SceneFolder`. The package's own scenes
    take `duration` in seconds and `ref_mic`, and those that are made from seeds
    ``n_scenes=4``, ``random_state=0`` (the seed of the first) and the parameters of
    :func:`make_convolutive_mixture` or :func:`make_room_mixture`.

    Examples
    --------
    >>> from skbss.datasets import load_dataset
    >>> dataset = load_dataset("convolutive", n_scenes=2, n_sources=3, duration=1.0)
    >>> dataset.names
    ['convolutive_0000', 'convolutive_0001']
    >>> dataset[0].mixture.shape
    (16000, 3)
    >>> load_dataset("convolutive", n_source=3)
    Traceback (most recent call last):
    skbss.config.ConfigError: Got unknown parameter 'n_source' of data set
    'convolutive'. Did you mean 'n_sources'?
    """
    check_dataset(name, params)
    dataset = _find(name)(**params)
    if isinstance(dataset, list | tuple) and all(
        isinstance(scene, Mapping) for scene in dataset
    ):
        dataset = SceneList(dataset)
    expected = ("__len__", "__getitem__", "names")
    missing = [attribute for attribute in expected if not hasattr(dataset, attribute)]
    if missing:
        raise ConfigError(
            f"Got data set {name!r}, which is a {type(dataset).__name__} without "
            f"{' and '.join(missing)}, expected a list of scenes or a sequence with "
            "names."
        )
    if len(dataset) == 0:
        raise ConfigError(f"Got data set {name!r} without scenes.")
    if len(set(dataset.names)) != len(dataset):
        raise ConfigError(
            f"Got data set {name!r} with {len(set(dataset.names))} different names, "
            f"expected {len(dataset)}, one a scene."
        )
    return dataset


def check_dataset(name: str, params: dict) -> None:
    """Check the name of a data set and its parameters' names without loading it.

    Parameters
    ----------
    name : str
        As in :func:`load_dataset`.
    params : dict
        Parameters of the loader by name.

    Raises
    ------
    ConfigError
        If there is no such data set, if a parameter is unknown or a required one is
        missing.

    Examples
    --------
    >>> from skbss.datasets import check_dataset
    >>> check_dataset("cocktail_party", {"duration": 2.0})
    >>> check_dataset("scenes", {"limit": 2})
    Traceback (most recent call last):
    skbss.config.ConfigError: Got data set 'scenes' without its parameter 'folder'.
    """
    known = inspect.signature(_find(name)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in known):
        return
    names = [parameter.name for parameter in known]
    for given in params:
        if given not in names:
            hint = did_you_mean(given, names) if names else " It takes none."
            raise ConfigError(
                f"Got unknown parameter {given!r} of data set {name!r}.{hint}"
            )
    for parameter in known:
        if parameter.default is parameter.empty and parameter.name not in params:
            raise ConfigError(
                f"Got data set {name!r} without its parameter {parameter.name!r}."
            )


def _find(name):
    """Return the loader of that name."""
    if not isinstance(name, str):
        raise ConfigError(f"Got data set {name!r}, expected a name.")
    return find(name, _LOADERS, "data set")
