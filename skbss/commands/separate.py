"""``skbss separate``: recordings in, one file per source out."""

# License: BSD-3-Clause

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skbss.callbacks import OnProgress
from skbss.commands.console import Progress, clear, tell
from skbss.commands.recordings import (
    RecordingError,
    check_recording,
    find_references,
    output_paths,
)
from skbss.compose import METHODS, make_separator
from skbss.config import (
    ConfigError,
    configure,
    did_you_mean,
    flatten,
    load_yaml,
    parse_override,
)
from skbss.datasets import load_cocktail_party
from skbss.io import AudioFileError, write_audio
from skbss.metrics import si_sdr_improvement
from skbss.metrics._decibels import decibels
from skbss.transforms import STFT

# Parameters of `make_separator`, not of one step.
FLAGS = "denoise", "dereverberate"
OF_ALL = "n_sources", "ref_mic", *FLAGS


def run(args):
    """Check everything, then separate one recording after the other.

    Parameters
    ----------
    args : argparse.Namespace
        As ``skbss.cli`` parses them.

    Raises
    ------
    ConfigError, AudioFileError, RecordingError
        If parameters or files cannot be used. Nothing is written then, but for the
        results of the recordings that were separated before.
    """
    check_arguments(args)
    method, params = read_params(args)
    # Wrong names and values are found before any file is read or written.
    ref_mic = reference_of(build_pipeline(method, params, 16_000))
    folder = args.output or Path("demo")
    if args.demo:
        args.recordings, args.reference_dir = [write_demo(folder)], folder
    show_progress = args.verbose or sys.stderr.isatty()
    recordings = check_recordings(args, ref_mic, show_progress)
    for rate in {recording.info.sample_rate for recording in recordings}:
        for part in build_pipeline(method, params, rate).get_params().values():
            if isinstance(part, STFT):
                check_window(part)
    outputs = output_paths(recordings, folder, args.n_sources)
    make_folder(folder)
    table = Table(recordings, n_sources=args.n_sources)
    for k, recording in enumerate(recordings):
        what = (
            f"[{k + 1}/{len(recordings)}] separating {recording.path}: "
            f"{recording.duration:.1f} s, {recording.n_mics} microphones"
        )
        pipeline = build_pipeline(method, params, recording.info.sample_rate)
        progress = what if show_progress else None
        done = separate(recording, pipeline, outputs[k], ref_mic, progress)
        table.add(recording, *done)
    table.finish()
    print(f"Wrote {sum(map(len, outputs))} files to {folder}{os.sep}")
    if args.demo:
        first, second = outputs[0]
        print(f"Listen to {recordings[0].path}, then to {first} and {second}.")


def check_arguments(args):
    """Raise ConfigError if arguments are missing or contradict each other."""
    if args.demo and (args.recordings or args.reference_dir):
        raise ConfigError("Got --demo, which takes no recordings and no references.")
    if not args.demo and not args.recordings:
        raise ConfigError("Got no recordings. Try --demo.")
    if not args.demo and not args.output:
        raise ConfigError("Got no output folder, expected -o OUT.")


def check_recordings(args, ref_mic, show_progress):
    """Check all recordings and their references and return the former."""
    recordings = []
    for path in args.recordings:
        if show_progress:
            tell(f"checking {path}", transient=True)
        references = []
        if args.reference_dir:
            is_only = len(args.recordings) == 1
            references = find_references(args.reference_dir, path, is_only=is_only)
        recordings.append(check_recording(path, references, ref_mic, args.n_sources))
    return recordings


def read_params(args, default_method="refined"):
    """Return the method and the parameters by dotted names."""
    params = flatten(load_yaml(args.config)) if args.config else {}
    params.update(parse_override(text) for text in args.set)
    for name in OF_ALL:
        if getattr(args, name, None) is not None:
            params[name] = getattr(args, name)
    method = params.pop("method", default_method)
    return args.method or method, params


def build_pipeline(method, params, sample_rate):
    """Return the pipeline of the command, with checked parameters.

    Parameters
    ----------
    method : str
        Name of the method.
    params : dict
        Values by dotted names. "n_sources", "ref_mic", "denoise" and "dereverberate"
        are those of `make_separator`.
    sample_rate : float
        In Hz.

    Returns
    -------
    pipeline : Pipeline
        From signals (n_samples, n_mics) to (n_samples, n_sources).

    Raises
    ------
    ConfigError
        If a name or a value is wrong.

    Examples
    --------
    >>> from skbss.commands.separate import build_pipeline
    >>> [name for name, step in build_pipeline("ilrma", {}, 16_000).steps]
    ['stft', 'ilrma', 'projectionback', 'istft', 'loudestfirst']
    """
    check_method(method, METHODS)
    of_all = {key: params[key] for key in OF_ALL if key in params}
    for name in FLAGS:
        if not isinstance(of_all.get(name, False), bool):
            message = f"Got {name}={of_all[name]!r}, expected true or false."
            raise ConfigError(message)
    pipeline = make_separator(method, sample_rate=sample_rate, random_state=0, **of_all)
    return configure(pipeline, {k: v for k, v in params.items() if k not in of_all})


def reference_of(pipeline):
    """Return the reference microphone of a pipeline that `make_separator` made."""
    params = pipeline.get_params()
    names = "sources", "first__projectionback", "projectionback"
    name = next(f"{name}__ref_mic" for name in names if name in params)
    if params[name] == "sum":  # which suits a pass after this one
        dotted = name.replace("__", ".")
        raise ConfigError(f"Got {dotted}='sum', expected a number.")
    return params[name]


def flat_steps(pipeline, prefix=""):
    """Yield names and steps of a pipeline, and of the pipelines that are its steps."""
    for name, step in pipeline.steps:
        if isinstance(step, Pipeline):
            yield from flat_steps(step, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", step


def check_method(method, methods):
    """Raise ConfigError if there is no such method."""
    if method not in methods:
        hint = did_you_mean(str(method), methods)
        raise ConfigError(f"Got unknown method {method!r}.{hint}")


def check_window(stft):
    """Raise ConfigError if the transform isn't invertible or too large for memory."""
    try:
        clone(stft).set_params(min_frames=None).fit(np.zeros((2, 2)))
    except (TypeError, ValueError, MemoryError) as error:
        raise ConfigError(str(error)) from error


def write_demo(folder):
    """Write the bundled recording and its sources, and return the former's path."""
    data = load_cocktail_party()
    path = folder / "cocktail_party.wav"
    make_folder(folder / path.stem)
    write_audio(path, data.mixture, data.sample_rate)
    for k, image in enumerate(data.images):
        write_audio(folder / path.stem / f"source_{k:02d}.wav", image, data.sample_rate)
    return path


def make_folder(folder):
    """Make a folder that files can be written to, or raise AudioFileError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"Cannot write to folder {folder}: {error.strerror}."
        raise AudioFileError(message) from error


def separate(recording, pipeline, outputs, ref_mic, progress=None):
    """Separate a recording, write the sources and score them.

    Parameters
    ----------
    recording : Recording
        What to separate.
    pipeline : Pipeline
        From the microphones' signals to the sources'.
    outputs : list of Path
        Files to write, one for each source.
    ref_mic : int
        The reference microphone, for the scores.
    progress : str, default=None
        What to tell before each step of the pipeline, followed by its name, and in
        long ones by how much of it is done.

    Returns
    -------
    seconds : float
        Time from the samples of the recording to those of the sources.
    levels : ndarray of shape (n_sources,)
        Levels of the outputs in dB, relative to the reference microphone.
    scores : ndarray of shape (n_sources,) or None
        SI-SDR improvement of each source in dB, if there are references.
    """
    x, info = recording.read(), recording.info
    try:
        start = time.perf_counter()
        y = x
        steps = list(flat_steps(pipeline))
        for i, (name, step) in enumerate(steps):
            if progress:
                count = f"step {i + 1}/{len(steps)}"
                told = Progress(f"{progress}, {count}: {name}")
                step.set_callbacks(OnProgress(told))
            y = step.fit_transform(y)
    except (ValueError, MemoryError) as error:
        raise RecordingError(f"Cannot separate {recording.path}: {error}") from error
    seconds = time.perf_counter() - start
    for path, source in zip(outputs, y.T, strict=True):
        write_audio(path, source, info.sample_rate, subtype=info.subtype)
    levels = decibels((y**2).mean(0), (x[:, ref_mic] ** 2).mean())
    if not recording.reference_paths:
        return seconds, levels, None
    references = recording.read_references(ref_mic)
    try:
        scores = si_sdr_improvement(references, y, x, ref_mic=ref_mic)
    except ValueError as error:
        raise RecordingError(f"Cannot score {recording.path}: {error}") from error
    return seconds, levels, scores


def _list(values):
    return ", ".join(f"{value:.1f}" for value in values)


class Table:
    """Prints a row as soon as a recording is done, and one for all at the end."""

    def __init__(self, recordings, *, n_sources=None):
        most = max(recording.n_mics for recording in recordings)
        # They tell which outputs of many are talkers.
        self.shows_levels = n_sources is None and most > 2
        self.width = max(len("recording"), *(len(str(r.path)) for r in recordings))
        self.rows = []
        heading = f"{'recording':<{self.width}}  mics  duration [s]  time [s]    RTF"
        if recordings[0].reference_paths:
            heading += "  SI-SDRi [dB]"
        if self.shows_levels:
            heading += "  levels [dB]"
        self._print(heading)

    def add(self, recording, seconds, levels, scores):
        """Print the row of a recording."""
        row = (recording.duration, seconds, None if scores is None else _mean(scores))
        self.rows.append(row)
        line = self._row(recording.path, recording.n_mics, *row)
        if scores is not None:
            line += f"  ({_list(scores)})"
        if self.shows_levels:
            line += f"  {_list(levels)}"
        self._print(line)

    def finish(self):
        """Print the row of all recordings, if there are several."""
        if len(self.rows) > 1:
            durations, seconds, means = zip(*self.rows, strict=True)
            mean = None if means[0] is None else _mean(np.array(means))
            self._print(self._row("all", "", sum(durations), sum(seconds), mean))

    def _row(self, name, n_mics, duration, seconds, mean):
        line = (
            f"{name!s:<{self.width}}  {n_mics:>4}  {duration:>12.1f}  {seconds:>8.2f}  "
            f"{seconds / duration:>5.3f}"
        )
        return line if mean is None else f"{line}  {mean:>12.1f}"

    def _print(self, line):
        clear()
        print(line, flush=True)


def _mean(scores):
    """Mean of the scores that are defined: that of a silent reference is nan."""
    scores = scores[~np.isnan(scores)]
    return scores.mean() if len(scores) else np.nan
