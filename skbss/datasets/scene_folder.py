"""Scenes on disk: a folder with a subfolder for each recording and its sources."""

# License: BSD-3-Clause

import warnings
from fnmatch import fnmatchcase
from numbers import Integral, Real
from pathlib import Path
from typing import Literal

from skbss.config import did_you_mean
from skbss.datasets.scene_files import (
    SceneError,
    check_files,
    read_files,
    sample_range,
)
from skbss.datasets.sequence import SceneSequence
from skbss.io import reason
from skbss.sklearn_parts import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_MAX_NAMED = 10


class SceneFolder(SceneSequence):
    """Scenes on disk, each in a folder of its own, read when they are asked for.

    A scene is a folder with

    - ``mixture.wav`` or ``mixture.flac``, all microphones,
    - ``source_00.wav`` (or ``.flac``), ``source_01.wav``, ...: what the microphones, or
      one of them, recorded of each source alone. A recording whose sources nobody knows
      has none.
    - ``metadata.json``, a JSON object with whatever is known of the scene. It may be
      missing. Where it tells ``sample_rate``, ``n_samples``, ``n_mics`` or
      ``n_sources`` (or ``fs``, ``n_mic``, ``n_src``), the files have to agree.

    That is also what torchrir's builders of dynamic scenes write. The data set has a
    length, is indexed and iterated, which is all that
    ``torch.utils.data.DataLoader(SceneFolder(...))`` needs.

    Parameters
    ----------
    folder : str or Path
        The folder of the scenes. Every subfolder is one, but for those whose names
        begin with a period.
    include : str or list of str, default=None
        Names of the scenes to take, or patterns such as ``"n2_*"``, in this order. None
        stands for all, in the order of their names.
    limit : int, default=None
        Take so many usable scenes. None stands for all.
    offset : float, default=0.0
        Read each scene from this time on, in seconds.
    duration : float, default=None
        Read so many seconds of each scene, or less if it ends before. None stands for
        all that follows `offset`.
    ref_mic : int, default=0
        The microphone whose images of the sources are the references. Sources with one
        channel are references as they are.
    on_error : {'raise', 'skip'}, default='raise'
        What to do about scenes that cannot be used: raise a :class:`SceneError`, or
        leave them out with a warning that names them.
    return_images : bool, default=False
        Whether scenes have `images` too: more memory, by the number of microphones.
    return_metadata : bool, default=False
        Whether scenes have `metadata` too. torch cannot collate those that differ in
        their keys or have nulls, as torchrir's do.
    dtype : {'float64', 'float32'}, default='float64'
        Of the samples. Separators keep it.

    Attributes
    ----------
    names : list of str
        The names of the scenes, which are those of their folders.
    skipped : dict of str to str
        Scenes that were left out, each with the reason.

    Raises
    ------
    SceneError
        If there is no such folder, if it has no scenes, if a pattern matches none of
        them, or if one is broken: a file is missing, truncated, not readable or differs
        from the mixture in rate, length or number of channels.

    See Also
    --------
    save_scene : Write one.
    load_dataset : Data sets by name.

    Notes
    -----
    When the data set is made, headers and the last sample of all files are read, which
    takes about half a millisecond a file. What is damaged in the middle of a file is
    found when a scene is read: indexing raises SceneError, iterating too or, with
    ``on_error="skip"``, warns and goes on with the next scene.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.datasets import SceneFolder, load_dataset, save_scene
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for scene in load_dataset("convolutive", n_scenes=3, duration=1.0):
    ...         save_scene(f"{folder}/{scene.name}", scene)
    ...     dataset = SceneFolder(folder, limit=2, duration=0.5)
    ...     scene = dataset[1]
    >>> dataset.names
    ['convolutive_0000', 'convolutive_0001']
    >>> scene.mixture.shape, scene.references.shape, scene.sample_rate
    ((8000, 2), (8000, 2), 16000)
    """

    _parameter_constraints = {
        "folder": [str, Path],
        "include": [str, list, tuple, None],
        "limit": [Interval(Integral, 1, None, closed="left"), None],
        "offset": [Interval(Real, 0, None, closed="left")],
        "duration": [Interval(Real, 0, None, closed="neither"), None],
        "ref_mic": [Interval(Integral, 0, None, closed="left")],
        "on_error": [StrOptions({"raise", "skip"})],
        "return_images": ["boolean"],
        "return_metadata": ["boolean"],
        "dtype": [StrOptions({"float64", "float32"})],
    }

    def __init__(
        self,
        folder: str | Path,
        *,
        include: str | list[str] | None = None,
        limit: int | None = None,
        offset: float = 0.0,
        duration: float | None = None,
        ref_mic: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        return_images: bool = False,
        return_metadata: bool = False,
        dtype: Literal["float64", "float32"] = "float64",
    ):
        params = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        validate_parameter_constraints(
            self._parameter_constraints, params, caller_name="SceneFolder"
        )
        for name, value in params.items():
            setattr(self, name, value)
        self.folder = Path(folder)
        self.skipped = {}
        super().__init__(self._usable(_select(_subfolders(self.folder), include)))
        if not self.names:
            name, why = next(iter(self.skipped.items()))
            raise SceneError(
                f"Got {folder} without a usable scene: all {len(self.skipped)} are "
                f"broken, the first is {name}: {why}"
            )
        if self.skipped:
            warnings.warn(_describe(self.skipped, self.folder), stacklevel=2)

    def __iter__(self):
        for name in self.names:
            try:
                scene = self._load(name)
            except SceneError as error:
                if self.on_error == "raise":
                    raise
                warnings.warn(_describe({name: error}, self.folder), stacklevel=2)
            else:
                yield scene

    def _load(self, name):
        files = self._check(name)
        scene = read_files(
            files,
            ref_mic=self.ref_mic,
            offset=self.offset,
            duration=self.duration,
            images=self.return_images,
            dtype=self.dtype,
        )
        scene.name = name
        if self.return_metadata:
            scene.metadata = files.metadata
        return scene

    def _usable(self, names):
        """Yield the names of scenes that can be used; keep the others in `skipped`."""
        n_usable = 0
        for name in names:
            try:
                self._check(name)
            except SceneError as error:
                if self.on_error == "raise":
                    raise
                self.skipped[name] = str(error)
            else:
                yield name
                n_usable += 1
                if n_usable == self.limit:
                    return

    def _check(self, name):
        files = check_files(self.folder / name, self.ref_mic)
        sample_range(files, self.offset, self.duration)
        if self.return_images and files.is_mono:
            raise SceneError(
                f"{self.folder / name} has sources with 1 channel, expected "
                f"{files.n_mics} for return_images=True."
            )
        return files


def _subfolders(folder):
    """Return the names of the folders in a folder, in order."""
    try:
        entries = list(folder.iterdir())
        # A link to nowhere is a scene that is missing.
        folders = [e for e in entries if e.is_dir() or not e.exists()]
        names = sorted(entry.name for entry in folders if entry.name[0] != ".")
    except OSError as error:
        raise SceneError(f"Cannot read {folder}: {reason(error)}.") from error
    if any(entry.stem == "mixture" for entry in entries):
        raise SceneError(
            f"Got {folder}, which is a scene, expected the folder that it is in."
        )
    if not names:
        raise SceneError(f"Got {folder}, in which there are no folders of scenes.")
    return names


def _select(names, include):
    """Return the names that match, in the order of what they match, each once."""
    if include is None:
        return names
    selected = {}
    for pattern in [include] if isinstance(include, str) else include:
        found = [n for n in names if n == pattern or fnmatchcase(n, str(pattern))]
        if not found:
            hint = did_you_mean(str(pattern), names)
            raise SceneError(f"Got include={pattern!r}, which matches no scene.{hint}")
        selected |= dict.fromkeys(found)
    if not selected:
        raise SceneError("Got include=[], expected names of scenes or None for all.")
    return list(selected)


def _describe(skipped, folder):
    """Return a warning that names scenes; a folder may have many of them."""
    first = [f"{name} ({why})" for name, why in skipped.items()][:_MAX_NAMED]
    names = list(skipped)[_MAX_NAMED:]
    rest = f"; and {', '.join(names)}" if names else ""
    plural = "s" if len(skipped) > 1 else ""
    return (
        f"Skipped {len(skipped)} broken scene{plural} of {folder}: {'; '.join(first)}"
        f"{rest}."
    )
