"""Room scenes made from dry speech: to choose defaults and to measure separation.

A scene is a folder: ``mixture.flac`` (all microphones), ``source_00.flac``, ... (the
image of each source at all microphones; they sum exactly to the mixture) and
``metadata.json``. From the shell::

    python benchmarks/scenes.py DRY_SPEECH_FOLDER OUT_FOLDER --exclude 302,7505

Needs pyroomacoustics.
"""

# License: BSD-3-Clause

import argparse
import json
from pathlib import Path

import numpy as np
import pyroomacoustics as pra
import soundfile as sf

MIC_SPACING = 0.05
PEAK = 0.25


def room_images(dry, sample_rate, room_dim, rt60, mics, sources):
    """Simulate a shoebox room with the image source method.

    Parameters
    ----------
    dry : ndarray of shape (n_sources, n_samples)
    sample_rate : int
        In Hz.
    room_dim : array-like of 3
        In meters, as are all positions.
    rt60 : float
        The reverberation time to reach, in seconds. The absorption of the walls is
        set until the impulse responses measure so: Sabine's formula alone misses
        short times by a third.
    mics, sources : ndarray of shape (n_mics, 3), (n_sources, 3)

    Returns
    -------
    images : ndarray of shape (n_sources, n_samples, n_mics)
    room : dict
        What metadata tell of the room.
    """
    absorption, max_order = pra.inverse_sabine(rt60, room_dim)
    for _ in range(4):
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
        measured = room.measure_rt60().mean()
        used = absorption
        # Eyring: the decay rate is proportional to -log(1 - absorption).
        absorption = 1 - (1 - absorption) ** (measured / rt60)
    images = room.simulate(return_premix=True)[:, :, : dry.shape[1]]
    description = {
        "kind": "simulated (pyroomacoustics image source method)",
        "pyroomacoustics": pra.__version__,
        "rt60_target_s": rt60,
        "rt60_measured_s": round(float(measured), 4),
        "room_dim_m": np.round(room_dim, 4).tolist(),
        "absorption": round(float(used), 5),
        "max_order": max_order,
        "mic_positions_m": np.round(mics, 5).tolist(),
    }
    return images.transpose(0, 2, 1), description


def level(images, peak=PEAK):
    """Equal power at microphone 0, the given peak in the mixture, on the PCM16 grid."""
    images = images / images[:, :, :1].std(axis=1, keepdims=True)
    images *= peak / np.abs(images.sum(axis=0)).max()
    return np.round(images * 2**15) / 2**15


def input_si_sdr(images):
    """SI-SDR in dB of the mixture against each source, at microphone 0."""
    references, mixture = images[:, :, 0], images[:, :, 0].sum(axis=0)
    scale = references @ mixture / (references**2).sum(axis=1)
    targets = scale[:, None] * references
    residual = ((mixture - targets) ** 2).sum(axis=1)
    return (10 * np.log10((targets**2).sum(axis=1) / residual)).round(3).tolist()


def write_scene(folder, images, sample_rate, metadata):
    """Write ``mixture.flac``, ``source_*.flac`` and ``metadata.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    sf.write(folder / "mixture.flac", images.sum(axis=0), sample_rate, "PCM_16")
    for k, image in enumerate(images):
        sf.write(folder / f"source_{k:02d}.flac", image, sample_rate, "PCM_16")
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n")


def load_scene(folder):
    """Read a scene.

    Returns
    -------
    mixture : ndarray of shape (n_samples, n_mics)
    references : ndarray of shape (n_samples, n_sources)
        The images of the sources at microphone 0.
    metadata : dict
    """
    folder = Path(folder)
    mixture, _ = sf.read(folder / "mixture.flac", always_2d=True)
    references = [
        sf.read(path, always_2d=True)[0][:, 0]
        for path in sorted(folder.glob("source_*.flac"))
    ]
    metadata = json.loads((folder / "metadata.json").read_text())
    return mixture, np.stack(references, axis=1), metadata


def read_speakers(dry_folder, duration, exclude=()):
    """Read one signal of at least `duration` seconds for each speaker.

    Files are called ``<speaker>-....flac`` (as LibriSpeech has them) in any subfolder;
    a speaker's files follow each other. Speakers with too little speech are left out.

    Returns
    -------
    speakers : dict of str to (signal, sample_rate, files)
    """
    paths = {}
    for path in sorted(Path(dry_folder).rglob("*-*.flac")):
        paths.setdefault(path.name.split("-")[0], []).append(path)
    speakers = {}
    for name in sorted(set(paths) - set(exclude), key=int):
        parts, files, n_left = [], [], 1
        for path in paths[name]:
            part, rate = sf.read(path)
            parts.append(part)
            files.append(path.relative_to(dry_folder).as_posix())
            n_left = round(duration * rate) - sum(map(len, parts))
            if n_left <= 0:
                speakers[name] = np.concatenate(parts)[: n_left or None], rate, files
                break
    return speakers


def random_geometry(n_sources, rng):
    """Draw a room, a 5 cm linear array near its middle and sources around the array.

    The sources are in front of the array, 1 to 2 m away, at least 25 degrees apart, and
    half a meter from every wall.
    """
    room_dim = rng.uniform([4.5, 4.0, 2.5], [6.5, 5.5, 3.0])
    center = room_dim / 2 + rng.uniform(-0.4, 0.4, size=3)
    center[2] = rng.uniform(1.1, 1.4)
    rotation = rng.uniform(0, 2 * np.pi)

    def around(azimuth, distance):
        return distance * np.stack(
            [np.cos(azimuth + rotation), np.sin(azimuth + rotation)], axis=-1
        )

    mics = np.tile(center, (n_sources, 1))
    offsets = (np.arange(n_sources) - (n_sources - 1) / 2) * MIC_SPACING
    mics[:, :2] += around(0.0, offsets[:, None])
    while True:
        azimuth = rng.uniform(np.radians(15), np.radians(165), size=n_sources)
        distance = rng.uniform(1.0, 2.0, size=n_sources)
        sources = np.tile(center, (n_sources, 1))
        sources[:, :2] += around(azimuth, distance[:, None])
        sources[:, 2] = rng.uniform(1.1, 1.7, size=n_sources)
        gaps = np.diff(np.sort(azimuth))
        inside = (sources > 0.5) & (sources < room_dim - 0.5)
        if inside.all() and gaps.min() >= np.radians(25):
            return room_dim, mics, sources, np.degrees(azimuth), distance


def make_scene(folder, speakers, n_sources, rt60, seed):
    """Make one scene of `n_sources` random speakers on as many microphones."""
    rng = np.random.default_rng(seed)
    names = rng.choice(sorted(speakers), size=n_sources, replace=False)
    room_dim, mics, sources, azimuth, distance = random_geometry(n_sources, rng)
    sample_rate = speakers[names[0]][1]
    dry = np.stack([speakers[name][0] for name in names])
    images, room = room_images(dry, sample_rate, room_dim, rt60, mics, sources)
    images = level(images)
    metadata = {
        "name": folder.name,
        "fs": sample_rate,
        "n_src": n_sources,
        "n_mic": n_sources,
        "n_samples": images.shape[1],
        "duration_s": images.shape[1] / sample_rate,
        "seed": seed,
        **room,
        "array": "linear",
        "mic_spacing_m": MIC_SPACING,
        "reference_mic": 0,
        "levels": "images scaled to equal power at mic 0; no noise; PCM16; "
        "sources sum exactly to the mixture",
        "sources": [
            {
                "position_m": np.round(sources[k], 4).tolist(),
                "azimuth_deg_array_frame": round(azimuth[k], 2),
                "distance_m": round(distance[k], 3),
                "speaker": str(names[k]),
                "files": speakers[names[k]][2],
            }
            for k in range(n_sources)
        ],
        "input_si_sdr_db_mic0": input_si_sdr(images),
    }
    write_scene(folder, images, sample_rate, metadata)


def make_scenes(
    dry_folder,
    out_folder,
    *,
    n_sources=(2, 3, 4),
    rt60=(0.15, 0.3),
    n_seeds=2,
    duration=10.0,
    exclude=(),
    random_state=0,
):
    """Make ``n{n_sources}_rt{ms}_{seed}`` for all combinations.

    Parameters
    ----------
    dry_folder : str or Path
        Clean speech at one rate, see `read_speakers`.
    out_folder : str or Path
        Gets one folder per scene.
    n_sources : sequence of int, default=(2, 3, 4)
        Each on as many microphones.
    rt60 : sequence of float, default=(0.15, 0.3)
        Reverberation times in seconds.
    n_seeds : int, default=2
        Scenes of each kind.
    duration : float, default=10.0
        In seconds.
    exclude : sequence of str, default=()
        Speakers to leave out.
    random_state : int, default=0
        Moves the seeds of all scenes.

    Returns
    -------
    folders : list of Path
    """
    speakers = read_speakers(dry_folder, duration, exclude)
    folders = []
    for n in n_sources:
        for decay in rt60:
            for k in range(n_seeds):
                milliseconds = round(1000 * decay)
                folder = Path(out_folder) / f"n{n}_rt{milliseconds}_{k:02d}"
                seed = 1_000_000 * random_state + 10_000 * n + 10 * milliseconds + k
                make_scene(folder, speakers, n, decay, seed)
                folders.append(folder)
    return folders


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dry_folder")
    parser.add_argument("out_folder")
    parser.add_argument("--n-seeds", type=int, default=2)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--exclude", default="", help="speakers, separated by commas")
    args = parser.parse_args()
    folders = make_scenes(
        args.dry_folder,
        args.out_folder,
        n_seeds=args.n_seeds,
        exclude=args.exclude.split(","),
        random_state=args.random_state,
    )
    for folder in folders:
        metadata = load_scene(folder)[2]
        print(
            f"{folder.name}  measured RT60 {metadata['rt60_measured_s']:.3f} s  "
            f"input SI-SDR {metadata['input_si_sdr_db_mic0']} dB  "
            f"speakers {[source['speaker'] for source in metadata['sources']]}"
        )


if __name__ == "__main__":
    main()
