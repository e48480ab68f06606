"""Room scenes made from dry speech: to choose defaults and to measure separation.

A scene is a folder: ``mixture.flac`` (all microphones), ``source_00.flac``, ... (the
image of each source at all microphones; they sum exactly to the mixture) and
``metadata.json``. From the shell::

    python benchmarks/scenes.py DRY_SPEECH_FOLDER OUT_FOLDER --exclude 302,7505

Needs pyroomacoustics (the extra ``rooms``).
"""

# License: BSD-3-Clause

import argparse
from pathlib import Path

import numpy as np
import soundfile as sf

from skbss.datasets import SceneFolder, save_scene
from skbss.datasets._rooms import (
    MIC_SPACING,
    random_array,
    random_room,
    random_sources,
    room_images,
)
from skbss.metrics import si_sdr

PEAK = 0.25
MOVE = 0.01  # seconds


def level(images, peak=PEAK):
    """Equal power at microphone 0, the given peak in the mixture, on the PCM16 grid."""
    images = images / images[:, :, :1].std(axis=1, keepdims=True)
    images *= peak / np.abs(images.sum(axis=0)).max()
    return np.round(images * 2**15) / 2**15


def input_si_sdr(images):
    """SI-SDR in dB of the mixture against each source, at microphone 0."""
    references = images[:, :, 0].T
    mixture = np.broadcast_to(references.sum(axis=1, keepdims=True), references.shape)
    return si_sdr(references, mixture, permute=False).round(3).tolist()


def load_scene(folder):
    """Read one scene with its metadata, see `skbss.datasets.SceneFolder`."""
    folder = Path(folder).absolute()
    return SceneFolder(folder.parent, include=folder.name, return_metadata=True)[0]


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


def make_scene(folder, speakers, n_sources, rt60, seed, move_at=None):
    """Make one scene of `n_sources` random speakers on as many microphones.

    At `move_at`, in seconds, all of them jump to other places, in a fade of 10 ms.
    """
    rng = np.random.default_rng(seed)
    names = rng.choice(sorted(speakers), size=n_sources, replace=False)
    room_dim = random_room(rng)
    mics, rotation = random_array(n_sources, room_dim, rng)
    sources, azimuth, distance = random_sources(
        n_sources, mics, room_dim, rng, rotation=rotation
    )
    sample_rate = speakers[names[0]][1]
    dry = np.stack([speakers[name][0] for name in names])
    moves = {}
    if move_at is None:
        images, _, room = room_images(dry, sample_rate, room_dim, rt60, mics, sources)
    else:
        seconds = np.arange(dry.shape[1]) / sample_rate
        later = np.clip((seconds - move_at) / MOVE + 0.5, 0, 1)
        places, *_ = random_sources(n_sources, mics, room_dim, rng, rotation=rotation)
        parts = [
            room_images(dry * weight, sample_rate, room_dim, rt60, mics, where)
            for weight, where in ((1 - later, sources), (later, places))
        ]
        images, room = parts[0][0] + parts[1][0], parts[0][2]
        moves = {"move_at_s": move_at, "moved_to_m": np.round(places, 5).tolist()}
    images = level(images)
    metadata = {
        "seed": seed,
        **room,
        **moves,
        "array": "linear",
        "mic_spacing_m": MIC_SPACING,
        "reference_mic": 0,
        "levels": "images scaled to equal power at mic 0; no noise; PCM16; "
        "sources sum exactly to the mixture",
        "sources": [
            {
                "azimuth_deg_array_frame": round(azimuth[k], 2),
                "distance_m": round(distance[k], 3),
                "speaker": str(names[k]),
                "files": speakers[names[k]][2],
            }
            for k in range(n_sources)
        ],
        "input_si_sdr_db_mic0": input_si_sdr(images),
    }
    scene = {
        "mixture": images.sum(axis=0),
        "images": images,
        "sample_rate": sample_rate,
        "metadata": metadata,
    }
    save_scene(folder, scene, suffix=".flac", subtype="PCM_16", overwrite=True)


def make_scenes(
    dry_folder,
    out_folder,
    *,
    n_sources=(2, 3, 4),
    rt60=(0.15, 0.3),
    n_seeds=2,
    duration=10.0,
    exclude=(),
    move_at=None,
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
    move_at : float, default=None
        Seconds after which all sources jump; None means that they rest.
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
                make_scene(folder, speakers, n, decay, seed, move_at)
                folders.append(folder)
    return folders


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dry_folder")
    parser.add_argument("out_folder")
    parser.add_argument("--n-seeds", type=int, default=2)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--exclude", default="", help="speakers, separated by commas")
    parser.add_argument("--n-sources", default="2,3,4", help="separated by commas")
    parser.add_argument("--rt60", default="0.15,0.3", help="seconds, by commas")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds")
    parser.add_argument("--move-at", type=float, help="seconds until all sources jump")
    args = parser.parse_args()
    folders = make_scenes(
        args.dry_folder,
        args.out_folder,
        n_sources=[int(n) for n in args.n_sources.split(",")],
        rt60=[float(seconds) for seconds in args.rt60.split(",")],
        n_seeds=args.n_seeds,
        duration=args.duration,
        exclude=args.exclude.split(","),
        move_at=args.move_at,
        random_state=args.random_state,
    )
    for folder in folders:
        metadata = load_scene(folder).metadata
        print(
            f"{folder.name}  measured RT60 {metadata['rt60_measured_s']:.3f} s  "
            f"input SI-SDR {metadata['input_si_sdr_db_mic0']} dB  "
            f"speakers {[source['speaker'] for source in metadata['sources']]}"
        )


if __name__ == "__main__":
    main()
