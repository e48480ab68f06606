"""Make the recording that `skbss.datasets.load_cocktail_party` reads.

Two synthetic voices, a woman and a man, talk at the same time in a simulated living
room with two microphones. Nothing is random: the same versions of espeak-ng and
pyroomacoustics (written to the metadata) make the same samples. From the shell::

    python benchmarks/make_cocktail_party.py skbss/datasets/data

Needs pyroomacoustics and the program espeak-ng (Debian: apt-get install espeak-ng).
The texts are this project's own; espeak-ng's license covers the program, not what it
says. The recording has the license of the package, BSD-3-Clause.
"""

# License: BSD-3-Clause

import argparse
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import soundfile as sf
from scenes import input_si_sdr, level
from scipy.signal import resample_poly

from skbss.datasets._rooms import room_images

SAMPLE_RATE = 16000
DURATION = 7.9
RT60 = 0.25
LEAD = 40  # samples of silence before who speaks first
PEAK = 0.2
ROOM = [5.2, 4.4, 2.6]
ARRAY_CENTER = np.array([2.4, 1.9, 1.2])
MICS = ARRAY_CENTER + [[-0.025, 0, 0], [0.025, 0, 0]]
SPEAKERS = [
    {
        "voice": "en-gb+f2",
        "pitch": 50,
        "words_per_minute": 160,
        "text": "Good evening! Have you tried the little cakes by the window? "
        "My sister baked them this morning, and there are hardly any left.",
        "start_s": 0.0,
        "azimuth_deg": 50,
        "distance_m": 1.3,
        "height_m": 1.5,
    },
    {
        "voice": "en-us+m3",
        "pitch": 40,
        "words_per_minute": 160,
        "text": "They told me the train would be late again, so I walked home along "
        "the river. It was colder than I thought, but the lights were beautiful.",
        "start_s": 0.15,
        "azimuth_deg": 125,
        "distance_m": 1.1,
        "height_m": 1.6,
    },
]


def speak(speaker):
    """Return the dry voice at `SAMPLE_RATE`, DURATION seconds long."""
    command = ["espeak-ng", "--stdout", "-a", "60", "-v", speaker["voice"]]
    command += ["-p", str(speaker["pitch"]), "-s", str(speaker["words_per_minute"])]
    run = subprocess.run([*command, speaker["text"]], check=True, capture_output=True)
    voice, rate = sf.read(io.BytesIO(run.stdout))
    voice = resample_poly(voice, SAMPLE_RATE, rate)
    dry = np.zeros(round(DURATION * SAMPLE_RATE))
    start = round(speaker["start_s"] * SAMPLE_RATE) + LEAD
    voice = voice[: len(dry) - start]
    dry[start : start + len(voice)] = voice
    return dry


def position(speaker):
    """Return the place of a speaker's mouth in the room, in meters."""
    azimuth = np.radians(speaker["azimuth_deg"])
    place = ARRAY_CENTER + speaker["distance_m"] * np.array(
        [np.cos(azimuth), np.sin(azimuth), 0]
    )
    place[2] = speaker["height_m"]
    return place


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_folder", type=Path)
    folder = parser.parse_args().out_folder
    version = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True)
    sources = np.array([position(speaker) for speaker in SPEAKERS])
    images, _, room = room_images(
        np.stack([speak(speaker) for speaker in SPEAKERS]),
        SAMPLE_RATE,
        ROOM,
        RT60,
        MICS,
        sources,
    )
    images = level(images, PEAK)
    metadata = {
        "sample_rate": SAMPLE_RATE,
        "synthesizer": version.stdout.split("  ")[0],
        **room,
        "input_si_sdr_db_mic0": input_si_sdr(images),
        "license": "BSD-3-Clause",
        "speakers": SPEAKERS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        path = folder / f"cocktail_party_source_{k:02d}.flac"
        sf.write(path, image, SAMPLE_RATE, "PCM_16", compression_level=1.0)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    path = folder / "cocktail_party.json"
    path.write_text(json.dumps(metadata, indent=1) + "\n")
    print(f"input SI-SDR {metadata['input_si_sdr_db_mic0']} dB")


if __name__ == "__main__":
    main()
