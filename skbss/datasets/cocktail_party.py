"""The bundled recording of two voices in a room."""

# License: BSD-3-Clause

import json
from importlib import resources
from typing import Any

import numpy as np
import soundfile as sf
from sklearn.utils import Bunch

from skbss.sklearn_parts import validate_params


@validate_params({"return_X_y": ["boolean"]}, prefer_skip_nested_validation=True)
def load_cocktail_party(*, return_X_y: bool = False) -> Any:
    """Load a recording of two people who talk at the same time.

    Two synthetic voices, a woman's and a man's, 7.9 s at 16 kHz, in a simulated living
    room with a reverberation time of 0.25 s, on two microphones 5 cm apart. Neither
    voice is louder than the other. ``DESCR`` tells how it was made.

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(mixture, references)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        mixture : ndarray of shape (126400, 2)
            The recording, (n_samples, n_mics).
        references : ndarray of shape (126400, 2)
            What microphone 0 would have recorded of each voice alone, (n_samples,
            n_sources): what `mixture` is to be separated into.
        images : ndarray of shape (2, 126400, 2)
            The same at all microphones, (n_sources, n_samples, n_mics). They sum
            exactly to `mixture`.
        sample_rate : int
            16000 Hz.
        rt60 : float
            Reverberation time in seconds, measured in the impulse responses.
        mic_positions, source_positions : ndarray of shape (2, 3)
            In the room, in meters.
        transcripts : list of str
            What each voice says.
        DESCR : str
            Description of the recording.

    (X, y) : tuple of ndarray
        `mixture` and `references`, if `return_X_y` is True.

    See Also
    --------
    make_convolutive_mixture : Synthetic recordings of any size.

    Examples
    --------
    >>> from skbss.datasets import load_cocktail_party
    >>> recording = load_cocktail_party()
    >>> recording.mixture.shape, recording.sample_rate
    ((126400, 2), 16000)
    >>> recording.transcripts[0]
    'Good evening! Have you tried the little cakes by the window? ...'
    """
    folder = resources.files("skbss.datasets") / "data"
    metadata = json.loads((folder / "cocktail_party.json").read_text("utf-8"))
    images = np.stack(
        [
            _read(folder / f"cocktail_party_source_{k:02d}.flac")
            for k in range(len(metadata["speakers"]))
        ]
    )
    mixture = images.sum(axis=0)
    references = np.ascontiguousarray(images[:, :, 0].T)
    if return_X_y:
        return mixture, references
    return Bunch(
        mixture=mixture,
        references=references,
        images=images,
        sample_rate=metadata["sample_rate"],
        rt60=metadata["rt60_measured_s"],
        mic_positions=np.array(metadata["mic_positions_m"]),
        source_positions=np.array(metadata["source_positions_m"]),
        transcripts=[speaker["text"] for speaker in metadata["speakers"]],
        DESCR=(folder / "cocktail_party.rst").read_text("utf-8"),
    )


def _read(resource):
    # A file object, not a path: the package may be a zip file.
    with resource.open("rb") as file:
        return sf.read(file)[0]
