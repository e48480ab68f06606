"""``--report``: a page to look at and listen to what was separated."""

# License: BSD-3-Clause

from html import escape
from importlib import resources

import numpy as np

from skbss.benchmark.report.clips import Clip, data_uri, encode, picture, power
from skbss.commands.work import Result
from skbss.io import AudioReader, whole_file

# What of a recording is shown, in seconds: its middle.
SECONDS = 20

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Separated recordings</title><style>{css}
figure {{ margin: 0.75rem 0; }} figure img {{ display: block; width: 100%;
max-width: 40rem; height: 120px; }} figure audio {{ width: 100%; max-width: 40rem; }}
</style></head><body><main><h1>Separated recordings</h1>
<p class="facts">{facts}</p>
{sections}
</main></body></html>
"""
SECTION = """<section><h2>{name}</h2><p class="facts">{facts}</p>{notes}
{figures}</section>
"""
FIGURE = """<figure><figcaption>{caption}</figcaption>
<img src="{png}" alt="Spectrogram of {caption}, up to {limit} kHz">
<audio controls preload="none" src="{audio}"></audio></figure>
"""


def write_page(path, results, method, ref_mic):
    """Write a page of recordings and their sources, which needs no other file.

    Parameters
    ----------
    path : Path
        The file. It appears when it is complete.
    results : list of Result
        What became of the recordings.
    method : str
        How they were separated.
    ref_mic : int
        The microphone to show.
    """
    css = resources.files("skbss.benchmark.report").joinpath("page.css").read_text()
    n_done = sum(result.error is None for result in results)
    text = PAGE.format(
        css=css,
        facts=f"{n_done} of {len(results)} recordings, by the method {escape(method)}. "
        f"Of longer ones the {SECONDS} seconds in the middle are shown.",
        sections="".join(_section(result, ref_mic) for result in results),
    )
    with whole_file(path) as temporary:
        temporary.write_text(text, "utf-8")


def _section(result: Result, ref_mic):
    name = escape(str(result.recording.path))
    if result.error is not None:
        note = f'<p class="warn">{escape(str(result.error))}</p>'
        return SECTION.format(name=name, facts="", notes=note, figures="")
    recording = result.recording
    facts = (
        f"{recording.duration:.1f} s, {recording.n_mics} microphones at "
        f"{recording.info.sample_rate} Hz, separated in {result.seconds:.1f} s"
    )
    captions = [f"microphone {ref_mic}"]
    clips = [_clip(recording.reader, recording.path, ref_mic)]
    for k, (output, level) in enumerate(
        zip(result.outputs, result.levels, strict=True)
    ):
        captions.append(f"source {k}, {level:.1f} dB")
        if result.scores is not None:
            captions[-1] += f", improved by {result.scores[k]:.1f} dB"
        clips.append(_clip(AudioReader(output), output, 0))
    spectrograms = [power(clip) for clip in clips]
    peak = spectrograms[0].max()
    figures = [
        FIGURE.format(
            caption=caption,
            png=data_uri(picture(spectrogram, peak), "image/png"),
            limit=f"{clip.sample_rate / 2000:g}",
            audio=_audio(clip),
        )
        for caption, clip, spectrogram in zip(
            captions, clips, spectrograms, strict=True
        )
    ]
    notes = "".join(f'<p class="warn">{escape(text)}</p>' for text in result.warnings)
    return SECTION.format(name=name, facts=facts, notes=notes, figures="".join(figures))


def _clip(reader, path, channel):
    """Return the middle of a channel, scaled down if it is beyond full scale."""
    n_samples = min(len(reader), SECONDS * reader.info.sample_rate)
    start = (len(reader) - n_samples) // 2
    x = reader[start : start + n_samples][:, channel].astype(np.float32)
    return Clip(path, x / max(1.0, abs(x).max()), reader.info.sample_rate)


def _audio(clip):
    for codec in ("mpeg", "flac"):  # MP3 knows few sample rates
        if (data := encode(clip, codec)) is not None:
            return data_uri(data, f"audio/{codec}")
    return ""
