"""Make a long meeting of dry speech in a simulated room, piece by piece, as files.

    python benchmarks/make_meeting.py DRY OUT [--minutes 60] [--talkers 3] [--mics 4]
                                      [--rate 48000] [--rt60 0.3] [--seed 0]

Every talker speaks in turns of 2 to 7 s between pauses, drawn anew for each turn, and
leaves the room once or twice every twenty minutes for one to five minutes; talkers talk
over each other as they happen to. OUT gets ``mixture.wav`` and, of each talker, what
microphone 0 records, ``source0.wav`` and so on; more than 4 GB are written as RF64.
Needs a file or more of at least a minute in all per talker, see `scenes.read_speakers`.
"""

# License: BSD-3-Clause

import argparse
import json
from math import gcd
from pathlib import Path

import numpy as np
import soundfile as sf
from scenes import read_speakers
from scipy.signal import oaconvolve, resample_poly

from skbss.datasets._rooms import random_array, random_room, random_sources, room_images

PAUSE = 3.0  # seconds between two turns of a talker, in the mean
TURN = (2.0, 7.0)
ABSENCES = 1.5  # in twenty minutes, in the mean
AWAY = (60.0, 300.0)
FADE = 0.02
PEAK = 0.25
# Noise of a recorder's converter, white, relative to full scale (-84 dB).
NOISE = 6e-5
PIECE = 60.0


def responses(n_talkers, n_mics, rate, rt60, rng):
    """Return impulse responses (n_talkers, n_taps, n_mics) of a random room."""
    room_dim = random_room(rng)
    mics, rotation = random_array(n_mics, room_dim, rng, array="circular")
    sources, *_ = random_sources(n_talkers, mics, room_dim, rng, rotation=rotation)
    impulses = np.zeros((n_talkers, round((rt60 + 0.1) * rate)))
    impulses[:, 0] = 1.0
    images, _, room = room_images(impulses, rate, room_dim, rt60, mics, sources)
    return images, room


def turns(speech, n_samples, rate, rng):
    """Return what one talker says: turns of `speech` between pauses and absences."""
    away = []
    for _ in range(rng.poisson(ABSENCES * n_samples / rate / 1200)):
        start = rng.uniform(0, n_samples / rate)
        away.append((start, start + rng.uniform(*AWAY)))
    said = np.zeros(n_samples, dtype=np.float32)
    fade = np.linspace(0, 1, round(FADE * rate))
    time, read = rng.exponential(PAUSE), 0
    while time * rate < n_samples:
        length = round(rng.uniform(*TURN) * rate)
        leave = [end for start, end in away if start < time + length / rate < end + 7]
        if leave:
            time = max(leave) + rng.exponential(PAUSE)
            continue
        turn = np.take(speech, np.arange(read, read + length), mode="wrap")
        turn[: len(fade)] *= fade
        turn[-len(fade) :] *= fade[::-1]
        start = round(time * rate)
        said[start : start + length] = turn[: n_samples - start]
        read, time = read + length, time + length / rate + rng.exponential(PAUSE)
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dry", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--talkers", type=int, default=3)
    parser.add_argument("--mics", type=int, default=4)
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--rt60", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    speakers = read_speakers(args.dry, 60.0)
    names = rng.choice(sorted(speakers), size=args.talkers, replace=False)
    filters, room = responses(args.talkers, args.mics, args.rate, args.rt60, rng)
    n_samples = round(60 * args.minutes * args.rate)
    said = []
    for name in names:
        speech, rate, _ = speakers[name]
        common = gcd(rate, args.rate)
        speech = resample_poly(speech, args.rate // common, rate // common)
        said.append(turns(speech / speech.std(), n_samples, args.rate, rng))
    args.out.mkdir(parents=True, exist_ok=True)
    n_taps, piece = filters.shape[1], round(PIECE * args.rate)

    def pieces():
        """Yield images (n_talkers, n, n_mics), a piece after the other."""
        for start in range(0, n_samples, piece):
            before = min(start, n_taps - 1)
            part = slice(start - before, start + piece)
            yield np.stack(
                [
                    oaconvolve(x[part, None], h, axes=0)[before : len(x[part])]
                    for x, h in zip(said, filters, strict=True)
                ]
            )

    gain = PEAK / max(np.abs(images.sum(axis=0)).max() for images in pieces())
    outputs = [("mixture.wav", args.mics)]
    outputs += [(f"source{k}.wav", 1) for k in range(args.talkers)]
    files = [
        sf.SoundFile(args.out / name, "w", args.rate, channels, "PCM_16", format="RF64")
        for name, channels in outputs
    ]
    for images in pieces():
        images *= gain
        mixture = images.sum(axis=0)
        files[0].write(mixture + NOISE * rng.normal(size=mixture.shape))
        for file, image in zip(files[1:], images, strict=True):
            file.write(image[:, 0])
    for file in files:
        file.close()
    seed = {"seed": args.seed, "speakers": names.tolist()}
    text = json.dumps({**seed, **room}, indent=2)
    (args.out / "metadata.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
