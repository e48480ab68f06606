"""A scene as files in a folder: find, check and read them."""

# License: BSD-3-Clause

import json
import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from sklearn.utils import Bunch

from skbss.datasets.sequence import check_scene
from skbss.io import AudioFileError, read_audio, read_header, reason, write_audio

_SUFFIXES = (".wav", ".flac")
METADATA = "metadata.json"
# What metadata may declare, in the words of this package and in older ones.
_DECLARED = {
    "sample_rate": ("sample_rate", "fs"),
    "n_samples": ("n_samples",),
    "n_mics": ("n_mics", "n_mic"),
    "n_sources": ("n_sources", "n_src"),
}


class SceneError(ValueError):
    """A scene or a folder of scenes cannot be used; the message is one sentence.

    Examples
    --------
    >>> from skbss.datasets import SceneError, SceneFolder
    >>> try:
    ...     SceneFolder("no/such/folder")
    ... except SceneError as error:
    ...     print(error)
    Cannot read no/such/folder: no such file or directory.
    """


class SceneFiles(NamedTuple):
    """A scene whose files are there and agree.

    Parameters
    ----------
    mixture : Path
        The file of the mixture.
    sources : list of Path
        The files of the sources, may be empty.
    metadata : dict
        What its metadata file says, empty if there is none.
    sample_rate, n_samples, n_mics : int
        Of the mixture.
    is_mono : bool
        Whether the sources have one channel and the mixture more.
    """

    mixture: Path
    sources: list
    metadata: dict
    sample_rate: int
    n_samples: int
    n_mics: int
    is_mono: bool


def find_sources(folder):
    """Find the files of sources, ``source*.wav`` and ``source*.flac``.

    Parameters
    ----------
    folder : Path
        Where to look.

    Returns
    -------
    paths : list of Path
        In the order of their numbers, then of their names.
    """
    return _find_files(folder)[1]


def check_files(folder, ref_mic=0):
    """Check a scene by its metadata and the headers of its files.

    Parameters
    ----------
    folder : Path
        The scene.
    ref_mic : int, default=0
        A microphone that it has to have.

    Returns
    -------
    files : SceneFiles
        What there is to read.

    Raises
    ------
    SceneError
        If a file is missing, cannot be read or differs from the mixture or from the
        metadata in rate, length or number of channels.
    """
    try:
        mixtures, sources = _find_files(folder)
        if len(mixtures) != 1:
            got = "two mixtures" if mixtures else "no mixture"
            raise SceneError(
                f"{folder} has {got}, expected mixture.wav or mixture.flac."
            )
        _check_numbers(sources)
        mixture = mixtures[0]
        metadata = _read_metadata(folder / METADATA)
        sample_rate, n_samples, n_mics = read_header(mixture)
        headers = [read_header(source) for source in sources]
    except AudioFileError as error:
        raise SceneError(str(error)) from error
    except OSError as error:
        raise SceneError(f"Cannot read {folder}: {reason(error)}.") from error
    found = {"sample_rate": sample_rate, "n_samples": n_samples, "n_mics": n_mics}
    found["n_sources"] = len(sources)
    _check_declared(found, metadata, folder)
    for source, header in zip(sources, headers, strict=True):
        _check_header(source, header, mixture, (sample_rate, n_samples, n_mics))
    n_channels = {header[2] for header in headers}
    if len(n_channels) > 1:
        raise SceneError(
            f"{folder} has sources with {' and '.join(map(str, sorted(n_channels)))} "
            "channels, expected as many in all."
        )
    if not 0 <= ref_mic < n_mics:
        raise SceneError(
            f"Got ref_mic={ref_mic}, but {mixture} has {n_mics} microphones."
        )
    is_mono = n_channels == {1} and n_mics > 1
    return SceneFiles(
        mixture, sources, metadata, sample_rate, n_samples, n_mics, is_mono
    )


def read_files(files, *, ref_mic=0, offset=0.0, duration=None, images=False, dtype):
    """Read the samples of a scene.

    Parameters
    ----------
    files : SceneFiles
        The scene.
    ref_mic : int, default=0
        The microphone of the references.
    offset, duration : float
        In seconds; None stands for all that there is.
    images : bool, default=False
        Whether to return what all microphones recorded of each source too.
    dtype : {'float32', 'float64'}
        Of the samples.

    Returns
    -------
    scene : Bunch
        mixture, sample_rate, and where there are sources references and images.

    Raises
    ------
    SceneError
        If a file turns out to be truncated or to have samples that aren't finite.
    """
    start, n_samples = sample_range(files, offset, duration)

    def read(path):
        return read_audio(path, start=start, n_samples=n_samples, dtype=dtype)[0]

    try:
        scene = Bunch(mixture=read(files.mixture), sample_rate=files.sample_rate)
        channel = 0 if files.is_mono else ref_mic
        if images and files.sources:
            scene.images = np.stack([read(source) for source in files.sources])
            scene.references = np.ascontiguousarray(scene.images[:, :, channel].T)
        elif files.sources:
            scene.references = np.stack(
                [read(source)[:, channel] for source in files.sources], axis=1
            )
    except AudioFileError as error:
        raise SceneError(str(error)) from error
    return scene


def sample_range(files, offset, duration):
    """Return the first sample of a part of a scene and its number of samples.

    Parameters
    ----------
    files : SceneFiles
        The scene.
    offset, duration : float
        In seconds; None stands for all that there is.

    Returns
    -------
    start, n_samples : int
        Within the scene.

    Raises
    ------
    SceneError
        If the scene ends before `offset`.
    """
    start = round(offset * files.sample_rate)
    n_left = files.n_samples - start
    if n_left < 1:
        raise SceneError(
            f"Got offset={offset} s, but {files.mixture} ends at "
            f"{files.n_samples / files.sample_rate:.3f} s."
        )
    if duration is None:
        return start, n_left
    return start, min(n_left, max(1, round(duration * files.sample_rate)))


def save_scene(
    folder: str | Path,
    scene: dict,
    *,
    suffix: Literal[".wav", ".flac"] = ".wav",
    subtype: str = "FLOAT",
    overwrite: bool = False,
) -> None:
    """Write a scene as a folder that :class:`SceneFolder` reads.

    The mixture is written last, so that a scene that was interrupted has none and is
    told apart.

    Parameters
    ----------
    folder : str or Path
        The folder of the scene, made if it is missing. Its name is the name under which
        the scene is read.
    scene : Bunch or dict
        With `mixture` of shape (n_samples, n_mics) and `sample_rate`, and possibly
        `images` of shape (n_sources, n_samples, n_mics) or else `references` of shape
        (n_samples, n_sources), and `metadata`: what :func:`load_dataset` and
        :func:`make_room_mixture` return.
    suffix : {'.wav', '.flac'}, default='.wav'
        Format of the files.
    subtype : str, default='FLOAT'
        Sample format in soundfile's words. 'FLOAT', which only WAV has, keeps any level
        and, to single precision, the sum of the images. Use 'PCM_24' or 'PCM_16' with
        FLAC.
    overwrite : bool, default=False
        Whether to replace a scene that is there.

    Raises
    ------
    SceneError
        If the folder holds a scene, or cannot be made.
    AudioFileError
        If a file cannot be written.
    ValueError
        If the shapes do not agree.

    See Also
    --------
    SceneFolder : Read scenes.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.datasets import SceneFolder, load_cocktail_party, save_scene
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_scene(f"{folder}/party", load_cocktail_party())
    ...     scene = SceneFolder(folder)[0]
    >>> scene.name, scene.mixture.shape, scene.references.shape
    ('party', (126400, 2), (126400, 2))
    """
    folder = Path(folder)
    scene = check_scene({**scene, "name": folder.name})
    signals = {f"mixture{suffix}": scene["mixture"]}
    sources = scene.get("images")
    if sources is None:
        sources = np.transpose(scene.get("references", np.empty((0, 0))))
    signals |= {f"source_{k:02d}{suffix}": x for k, x in enumerate(sources)}
    metadata = dict(scene.get("metadata", {}))
    for names in _DECLARED.values():
        for name in names:
            metadata.pop(name, None)
    n_samples, n_mics = np.shape(scene["mixture"])
    metadata = {
        "sample_rate": int(scene["sample_rate"]),
        "n_samples": n_samples,
        "n_mics": n_mics,
        "n_sources": len(sources),
        **metadata,
    }
    text = json.dumps(metadata, indent=1, default=lambda x: np.asarray(x).tolist())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = [path for paths in _find_files(folder) for path in paths]
        if present and not overwrite:
            raise SceneError(
                f"Got {folder}, which holds a scene, expected a new folder or "
                "overwrite=True."
            )
        for path in present:
            path.unlink()
        (folder / METADATA).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise SceneError(f"Cannot write {folder}: {reason(error)}.") from error
    for name in reversed(signals):
        write_audio(folder / name, signals[name], scene["sample_rate"], subtype=subtype)


def _find_files(folder):
    """Return the mixtures of a folder, usually one, and its sources, with one look."""
    found = [folder / name for name in os.listdir(folder)]
    found = [path for path in found if path.suffix.lower() in _SUFFIXES]
    mixtures = [path for path in found if path.stem == "mixture"]
    sources = [path for path in found if path.stem.startswith("source")]
    return mixtures, sorted(sources, key=lambda path: (_number(path.stem), path.name))


def _number(stem):
    digits = re.search(r"\d+$", stem)
    return int(digits[0]) if digits else -1


def _check_numbers(sources):
    """Tell a source that is missing in the middle, or there twice."""
    numbers = [_number(source.stem) for source in sources]
    for before, number, source in zip(numbers, numbers[1:], sources[1:], strict=False):
        if number == before >= 0:
            raise SceneError(f"{source.parent} has two sources of number {number}.")
        if number > before + 1 > 0:
            raise SceneError(
                f"{source.parent} has sources {before} and {number}, but none between."
            )
    if numbers and numbers[0] > 1:
        raise SceneError(f"{sources[0].parent} has no source before {numbers[0]}.")


def _read_metadata(path):
    try:
        metadata = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        why = " ".join(str(error).split())
        raise SceneError(f"Cannot read {path} as JSON: {why}.") from error
    if not isinstance(metadata, dict):
        raise SceneError(
            f"Cannot use {path}: got a {type(metadata).__name__}, expected an object."
        )
    return metadata


def _check_declared(found, metadata, folder):
    """Compare with what the metadata declare: a last source may be missing."""
    # torchrir has the number of sources among what its metadata call extra.
    extra = metadata.get("extra")
    metadata = {**extra, **metadata} if isinstance(extra, dict) else metadata
    for what, names in _DECLARED.items():
        for declared in (metadata.get(name, found[what]) for name in names):
            if isinstance(declared, int | float) and declared != found[what]:
                raise SceneError(
                    f"{folder} has {what}={found[what]}, expected {declared} as its "
                    f"{METADATA} says."
                )


def _check_header(source, header, mixture, expected):
    units = ("Hz", "samples", "channels")
    for unit, got, right in zip(units, header, expected, strict=True):
        if got != right and not (unit == "channels" and got == 1):
            raise SceneError(
                f"{source} has {got} {unit}, expected {right} as {mixture.name} has."
            )
