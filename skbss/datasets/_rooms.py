"""Rooms, and what microphones record in them: geometry and simulation."""

# License: BSD-3-Clause

import numpy as np
from scipy.signal import fftconvolve

MIC_SPACING = 0.05
LARGEST_ROOM = (6.5, 5.5, 3.0)  # of those that are drawn
EARLY = 0.05  # seconds after the direct sound
_MARGIN = 0.5  # meters between a source and a wall


def import_pyroomacoustics():
    """Return the module, or raise an ImportError that says how to get it."""
    try:
        import pyroomacoustics
    except ImportError as error:
        raise ImportError(
            "Simulating rooms needs pyroomacoustics: pip install 'skbss[rooms]'."
        ) from error
    return pyroomacoustics


def room_images(dry, sample_rate, room_dim, rt60, mics, sources):
    """Simulate a shoebox room with the image source method.

    Sound that leaves a source at a sample arrives as much later as the distance tells:
    the constant delay of the simulator's fractional delays is taken out.

    Parameters
    ----------
    dry : ndarray of shape (n_sources, n_samples)
        What the sources say.
    sample_rate : int
        In Hz.
    room_dim : array-like of 3
        In meters, as are all positions.
    rt60 : float
        The reverberation time to reach, in seconds; 0 for walls that reflect nothing.
        The absorption of the walls is set until the impulse responses measure so:
        Sabine's formula alone misses short times by a third.
    mics, sources : ndarray of shape (n_mics, 3), (n_sources, 3)
        Their positions.

    Returns
    -------
    images : ndarray of shape (n_sources, n_samples, n_mics)
        What the microphones record of each source.
    early : ndarray of shape (n_sources, n_samples, n_mics)
        What of it arrives with the direct sound or up to 50 ms after.
    room : dict
        What metadata tell of the room.

    Raises
    ------
    ValueError
        If no absorption gives the room so short a reverberation.
    """
    pra = import_pyroomacoustics()
    absorption, max_order = first_absorption(rt60, room_dim)
    for _ in range(4 if rt60 > 0 else 1):
        room = pra.ShoeBox(
            room_dim,
            fs=sample_rate,
            materials=pra.Material(absorption),
            max_order=max_order,
        )
        room.add_microphone_array(np.transpose(mics))
        for position, signal in zip(sources, dry, strict=True):
            room.add_source(position, signal=signal)
        room.compute_rir()
        measured = room.measure_rt60().mean() if rt60 > 0 else 0.0
        used = absorption
        if rt60 > 0:
            # Eyring: the decay rate is proportional to -log(1 - absorption).
            absorption = 1 - (1 - absorption) ** (measured / rt60)
    delay = pra.constants.get("frac_delay_length") // 2
    n_samples = dry.shape[1]
    images = room.simulate(return_premix=True)[:, :, delay : delay + n_samples]
    early = np.empty_like(images)
    for k, m in np.ndindex(images.shape[:2]):
        distance = np.linalg.norm(np.subtract(sources[k], mics[m]))
        end = delay + round((distance / room.c + EARLY) * sample_rate)
        response = room.rir[m][k][:end]
        early[k, m] = fftconvolve(dry[k], response)[delay : delay + n_samples]
    description = {
        "kind": "simulated (pyroomacoustics image source method)",
        "pyroomacoustics": pra.__version__,
        "rt60_target_s": rt60,
        "rt60_measured_s": round(float(measured), 4),
        "room_dim_m": np.round(room_dim, 4).tolist(),
        "absorption": round(float(used), 5),
        "max_order": max_order,
        "mic_positions_m": np.round(mics, 5).tolist(),
        "source_positions_m": np.round(sources, 5).tolist(),
    }
    by_channel = (np.ascontiguousarray(x.transpose(0, 2, 1)) for x in (images, early))
    return *by_channel, description


def first_absorption(rt60, room_dim):
    """Return Sabine's absorption and the order of reflections, or raise ValueError."""
    if rt60 == 0:
        return 1.0, 0
    try:
        return import_pyroomacoustics().inverse_sabine(rt60, room_dim)
    except ValueError as error:
        raise ValueError(
            f"Got rt60={rt60} s, which no walls reach in a room of "
            f"{' x '.join(f'{d:.3g}' for d in room_dim)} m, expected more or a smaller "
            "room."
        ) from error


def random_room(rng):
    """Draw the dimensions of a living room or office, in meters."""
    return rng.uniform([4.5, 4.0, 2.5], LARGEST_ROOM)


def random_array(n_mics, room_dim, rng, *, array="linear", mic_spacing=MIC_SPACING):
    """Place an array near the middle of a room at the height of a table.

    Parameters
    ----------
    n_mics : int
        Number of microphones.
    room_dim : ndarray of shape (3,)
        In meters.
    rng : RandomState or Generator
        Draws place and rotation.
    array : {'linear', 'circular'}, default='linear'
        The shape, in the horizontal plane.
    mic_spacing : float, default=0.05
        Distance of neighbors, in meters.

    Returns
    -------
    mics : ndarray of shape (n_mics, 3)
        In meters.
    rotation : float
        Of the array's axis from the x axis of the room, in radians.
    """
    center = room_dim / 2
    center[:2] += rng.uniform(-0.08, 0.08, size=2) * room_dim[:2]
    center[2] = min(rng.uniform(1.1, 1.4), room_dim[2] / 2)
    rotation = rng.uniform(0, 2 * np.pi)
    mics = np.tile(center, (n_mics, 1))
    if array == "linear":
        offsets = (np.arange(n_mics) - (n_mics - 1) / 2) * mic_spacing
        mics[:, :2] += offsets[:, None] * direction(rotation)
    elif n_mics > 1:
        radius = mic_spacing / (2 * np.sin(np.pi / n_mics))
        angles = rotation + 2 * np.pi * np.arange(n_mics) / n_mics
        mics[:, :2] += radius * direction(angles)
    return mics, rotation


def random_sources(n_sources, mics, room_dim, rng, *, rotation=0.0):
    """Place sources in front of an array, 1 to 2 m away where the room allows.

    They are at least 25 degrees apart, or as evenly as 150 degrees allow, at the height
    of a mouth, and half a meter from every wall of a room that is large enough.

    Parameters
    ----------
    n_sources : int
        Number of sources.
    mics : ndarray of shape (n_mics, 3)
        In meters.
    room_dim : ndarray of shape (3,)
        In meters.
    rng : RandomState or Generator
        Draws the places.
    rotation : float, default=0.0
        Of the array's axis, in radians.

    Returns
    -------
    sources : ndarray of shape (n_sources, 3)
        In meters.
    azimuth : ndarray of shape (n_sources,)
        From the array's axis, in degrees.
    distance : ndarray of shape (n_sources,)
        From the array's center, horizontally, in meters.
    """
    gap = min(25.0, 100.0 / n_sources)
    azimuth = np.sort(rng.uniform(0, 150.0 - gap * (n_sources - 1), size=n_sources))
    azimuth = rng.permutation(15.0 + azimuth + gap * np.arange(n_sources))
    center = mics.mean(axis=0)
    toward = direction(np.radians(azimuth) + rotation)
    margin = np.minimum(_MARGIN, room_dim / 8)
    wall = np.where(toward > 0, room_dim[:2] - margin[:2], margin[:2])
    with np.errstate(divide="ignore"):
        farthest = np.abs((wall - center[:2]) / toward).min(axis=1)
    nearest = np.where(farthest > 1, 1.0, farthest / 2)
    distance = rng.uniform(nearest, np.minimum(2.0, farthest))
    sources = np.tile(center, (n_sources, 1))
    sources[:, :2] += distance[:, None] * toward
    height = rng.uniform(1.1, 1.7, size=n_sources)
    sources[:, 2] = np.minimum(height, room_dim[2] - margin[2])
    return sources, azimuth, distance


def direction(angle):
    """Return unit vectors in the horizontal plane, of shape (..., 2)."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
