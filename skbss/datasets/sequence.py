"""What all data sets are: sequences of named scenes that are made when asked for."""

# License: BSD-3-Clause

import copy
from collections.abc import Sequence

import numpy as np
from sklearn.utils import Bunch


class SceneSequence(Sequence):
    """A data set, whose scenes are read or made one at a time.

    Parameters
    ----------
    names : iterable of str
        A name for each scene, all different.
    """

    def __init__(self, names):
        self.names = list(names)

    def _load(self, name):
        """Return the scene of that name, a Bunch."""
        raise NotImplementedError

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        names = self.names[index]
        if isinstance(index, slice):
            part = copy.copy(self)
            part.names = names
            part._narrow()
            return part
        return self._load(names)

    def _narrow(self):
        """Forget other scenes than those in `names`: parts go to other processes."""


class GeneratedScenes(SceneSequence):
    """Scenes that a function makes from seeds.

    Parameters
    ----------
    make : callable
        Takes a seed and returns a Bunch of a scene, but for its name. It has to be one
        that pickle knows, for other processes.
    seeds : dict of str to int
        The seed of each scene by its name.
    """

    def __init__(self, make, seeds):
        super().__init__(seeds)
        self._make = make
        self._seeds = dict(seeds)

    def _load(self, name):
        return Bunch(name=name, **self._make(self._seeds[name]))

    def _narrow(self):
        self._seeds = {name: self._seeds[name] for name in self.names}


class SceneList(SceneSequence):
    """Scenes that are in memory.

    Parameters
    ----------
    scenes : iterable of mapping
        Scenes as `check_scene` wants them.
    """

    def __init__(self, scenes):
        scenes = [check_scene(scene) for scene in scenes]
        super().__init__(scene["name"] for scene in scenes)
        self._scenes = dict(zip(self.names, scenes, strict=True))
        if len(self._scenes) < len(scenes):
            twice = next(n for n in self.names if self.names.count(n) > 1)
            raise ValueError(f"Got two scenes of the name {twice!r}, expected one.")

    def _load(self, name):
        return self._scenes[name]

    def _narrow(self):
        self._scenes = {name: self._scenes[name] for name in self.names}


def check_scene(scene):
    """Check that a mapping is a scene: its names, shapes and numbers.

    Parameters
    ----------
    scene : mapping
        With `name`, `mixture` of shape (n_samples, n_mics) and `sample_rate`, and where
        the sources are known `references` of shape (n_samples, n_sources) and `images`
        of shape (n_sources, n_samples, n_mics).

    Returns
    -------
    scene : Bunch
        The same.

    Raises
    ------
    ValueError
        If something is missing or has another shape; the message is one sentence.
    """
    name = scene.get("name")
    if not isinstance(name, str) or not name or name != name.strip(". /\\"):
        raise ValueError(f"Got a scene with name={name!r}, expected a file name.")
    if "/" in name or "\\" in name:
        raise ValueError(f"Got a scene with name={name!r}, expected no path.")
    for key in ("mixture", "sample_rate"):
        if scene.get(key) is None:
            raise ValueError(f"Got scene {name} without {key}.")
    mixture = np.shape(scene["mixture"])
    if len(mixture) != 2 or 0 in mixture:
        raise ValueError(
            f"Got scene {name} with a mixture of shape {mixture}, expected (n_samples, "
            "n_mics)."
        )
    if not scene["sample_rate"] > 0:
        raise ValueError(
            f"Got scene {name} with sample_rate={scene['sample_rate']}, expected Hz."
        )
    references = np.shape(scene.get("references", np.empty((mixture[0], 1))))
    if len(references) != 2 or references[0] != mixture[0]:
        raise ValueError(
            f"Got scene {name} with references of shape {references}, expected "
            f"({mixture[0]}, n_sources) as its mixture is of shape {mixture}."
        )
    images = np.shape(scene.get("images", np.empty((1, *mixture))))
    if len(images) != 3 or images[1:] != mixture:
        raise ValueError(
            f"Got scene {name} with images of shape {images}, expected (n_sources, "
            f"{mixture[0]}, {mixture[1]}) as its mixture is of shape {mixture}."
        )
    return Bunch(**scene)
