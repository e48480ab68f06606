"""``--report``: a page to look at and listen to what was separated."""

# License: BSD-3-Clause

import numpy as np

from skbss.commands.work import Result
from skbss.io import AudioReader, whole_file
from skbss.pages.clips import Clip, data_uri, encode, picture, power
from skbss.pages.templates import templates

# What of a recording is shown, in seconds: its middle.
SECONDS = 20


def write_page(path, results, failed, method, ref_mic):
    """Write a page of recordings and their sources, which needs no other file.

    Parameters
    ----------
    path : Path
        The file. It appears when it is complete.
    results : list of Result
        What became of the recordings.
    failed : list of (str, Exception)
        Names of those that couldn't be used, and why.
    method : str
        How they were separated.
    ref_mic : int
        The microphone to show.
    """
    page = templates("skbss.commands").get_template("separated.html")
    text = page.render(
        n_done=sum(result.error is None for result in results),
        method=method,
        seconds=SECONDS,
        sections=[_section(result, ref_mic) for result in results]
        + [_failure(name, error) for name, error in failed],
    )
    with whole_file(path) as temporary:
        # Names of files may be bytes that are no text.
        temporary.write_text(text, "utf-8", errors="backslashreplace")


def _section(result: Result, ref_mic):
    """Return what the template shows of a recording."""
    recording = result.recording
    if result.error is not None:
        return _failure(recording.path, result.error)
    facts = (
        f"{recording.duration:.1f} s, {recording.n_mics} microphones at "
        f"{recording.info.sample_rate} Hz, separated in {result.seconds:.1f} s"
    )
    captions = [f"microphone {ref_mic}"]
    clips = [_clip(recording.reader, ref_mic)]
    for k, (output, level) in enumerate(
        zip(result.outputs, result.levels, strict=True)
    ):
        captions.append(f"source {k}, {level:.1f} dB")
        if result.scores is not None:
            captions[-1] += f", improved by {result.scores[k]:.1f} dB"
        clips.append(_clip(AudioReader(output), 0))
    spectrograms = [power(clip) for clip in clips]
    peak = spectrograms[0].max()
    figures = [
        {
            "caption": caption,
            "png": data_uri(picture(spectrogram, peak), "image/png"),
            "limit": f"{clip.sample_rate / 2000:g}",
            "audio": _audio(clip),
        }
        for caption, clip, spectrogram in zip(
            captions, clips, spectrograms, strict=True
        )
    ]
    return {
        "name": str(recording.path),
        "facts": facts,
        "warnings": result.warnings,
        "figures": figures,
    }


def _failure(name, error):
    """Return what the template shows of a recording that failed."""
    return {"name": str(name), "facts": "", "warnings": [str(error)], "figures": []}


def _clip(reader, channel):
    """Return the middle of a channel, scaled down if it is beyond full scale."""
    n_samples = min(len(reader), SECONDS * reader.info.sample_rate)
    start = (len(reader) - n_samples) // 2
    x = reader[start : start + n_samples][:, channel].astype(np.float32)
    return Clip(x / max(1.0, abs(x).max()), reader.info.sample_rate)


def _audio(clip):
    for codec in ("mpeg", "flac"):  # MP3 knows few sample rates
        if (data := encode(clip, codec)) is not None:
            return data_uri(data, f"audio/{codec}")
    return ""
