"""``skbss stream``: separate a recording while it comes in."""

# License: BSD-3-Clause

import os
import signal
import time
import warnings
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skbss.commands.console import tell
from skbss.commands.pcm import SUBTYPES, FileReader, FileWriter, PipeReader, PipeWriter
from skbss.commands.pipelines import check_method, check_window, read_params
from skbss.commands.recordings import RecordingError
from skbss.compose import online_pipeline
from skbss.config import ConfigError, configure
from skbss.io import PCM_BITS, AudioFileError, reason, whole_file
from skbss.live import OnlineSeparator
from skbss.separators import OnlineAuxIVA, OnlineILRMA
from skbss.streaming import Stream

METHOD = "onlineseparator"
# Seconds of the signal between two times that the state is saved.
SAVE_SECONDS = 10.0
# Seconds by which work may be behind, as in the first ones of a new place.
LATE = 5.0
# Those that learn frame by frame.
RECURSIVE = {
    "onlineauxiva": OnlineAuxIVA,
    "onlineilrma": partial(OnlineILRMA, random_state=0),
}


def run(args):
    """Check everything, then separate block by block until the input ends.

    Parameters
    ----------
    args : argparse.Namespace
        As ``skbss.cli`` parses them.

    Raises
    ------
    ConfigError, AudioFileError, RecordingError
        If parameters or the input cannot be used, or the output cannot be written. What
        is wrong from the beginning is found before the output is begun.
    """
    check_arguments(args)
    method, params = read_params(args, METHOD)
    if args.latency is not None:
        params["latency"] = args.latency
    build(method, params, 16_000)  # finds wrong names and values
    signals = StopSignals()
    reader = open_reader(args, signals)
    separator = build(method, params, reader.sample_rate)
    if method in RECURSIVE:
        check_window(separator["stft"])
    session = Session(separator, reader, args.block, args.state)
    with closing(open_writer(args, reader, session.n_sources)) as writer, signals:
        tell(session.latency())
        session.run(writer, signals)
    if session.n_samples == 0:
        raise RecordingError(f"Got no samples from {reader.name}.")
    tell(session.summary())


def check_arguments(args):
    """Raise ConfigError if arguments are missing or contradict each other."""
    given = {"--rate": args.rate, "--channels": args.channels, "--format": args.format}
    for name, value in given.items():
        if args.input != "-" and value is not None:
            raise ConfigError(
                f"Got {name} {value} with {args.input}, which says so itself: it is "
                "for raw PCM from standard input, '-'."
            )
        if args.input == "-" and value is None and name != "--format":
            raise ConfigError(f"Got no {name}, which raw PCM doesn't tell itself.")
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"Got {name} {value}, expected at least 1.")
    allowed = OnlineSeparator._parameter_constraints["latency"][0]
    if args.latency is not None and args.latency not in allowed:
        raise ConfigError(
            f"Got --latency {args.latency:g}, expected seconds from {allowed.left} to "
            f"{allowed.right}."
        )
    if args.block is not None and args.block < 1:
        raise ConfigError(f"Got --block {args.block}, expected at least 1.")


def build(method, params, sample_rate):
    """Return the separator or the pipeline of a method, with checked parameters."""
    check_method(method, [METHOD, *RECURSIVE])
    params = dict(params)
    of_all = {
        name: params.pop(name)
        for name in ("latency", "n_sources", "ref_mic", "target")
        if name in params
    }
    if method == METHOD:
        # In a pipeline names are as for the other methods.
        pipeline = make_pipeline(OnlineSeparator(sample_rate))
        params |= {f"{method}.{name}": value for name, value in of_all.items()}
        return configure(pipeline, params)[METHOD]
    ref_mic = of_all.pop("ref_mic", 0)
    for name in of_all:
        raise ConfigError(
            f"Got {name}={of_all[name]} for {method}, which has no such parameter: "
            f"{METHOD} has."
        )
    pipeline = online_pipeline(RECURSIVE[method](), sample_rate, ref_mic=ref_mic)
    pipeline = configure(pipeline, params)
    ref_mic = pipeline["projectionback"].ref_mic
    if f"{method}.ref_mic" not in params and ref_mic != "sum":
        pipeline[method].set_params(ref_mic=ref_mic)
    return pipeline


def open_reader(args, signals):
    """Open the input."""
    if args.input == "-":
        subtype = SUBTYPES[args.format or "s16le"]
        signals.source = args.stdin.read
        reader = PipeReader(args.rate, args.channels, subtype, read=signals.read)
    elif Path(args.input).is_fifo():
        raise AudioFileError(
            f"Cannot read {args.input}: it is a pipe. Give '-' as input, and the pipe "
            f"as standard input: < {args.input}."
        )
    else:
        reader = FileReader(Path(args.input))
    if reader.n_channels < 2:
        raise RecordingError(
            f"Got {reader.name} with 1 channel, expected at least 2: sources are told "
            "apart by how they arrive at several microphones."
        )
    return reader


def open_writer(args, reader, n_sources):
    """Open the output, in the input's sample format unless told otherwise."""
    subtype = reader.subtype if reader.subtype in SUBTYPES.values() else "PCM_16"
    subtype = SUBTYPES.get(args.out_format, subtype)
    if args.output == "-":
        return PipeWriter(subtype)
    path = Path(args.output)
    if path.suffix.lower() != ".wav":
        raise AudioFileError(
            f"Cannot write {path}: got extension {path.suffix!r}, expected '.wav', or "
            "'-' for standard output."
        )
    if path.exists() and args.input != "-" and path.samefile(args.input):
        raise AudioFileError(f"Cannot write {path}: it is the recording.")
    if path.is_file() and path.stat().st_size and not args.overwrite:
        raise AudioFileError(
            f"Cannot write {path}: it is there already, and may be another recording. "
            "Say --overwrite to replace it."
        )
    return FileWriter(path, reader.sample_rate, n_sources, subtype)


class Session:
    """A stream from a reader to a writer, timed.

    Parameters
    ----------
    separator : OnlineSeparator or Pipeline
        From the microphones' signals to the sources'.
    reader : FileReader or PipeReader
        The microphones.
    block_size : int or None
        Most samples to take at a time; None takes the hop of the transform.
    state : str or None, default=None
        File to continue from, if it exists, and to keep what was learned in.

    Raises
    ------
    ConfigError
        If the pipeline needs the whole recording, or the state is of another one.
    RecordingError
        If it cannot separate so many microphones.
    """

    def __init__(self, separator, reader, block_size, state=None):
        self.reader = reader
        self.state = state and Path(state)
        self.n_saved = 0
        try:
            self.stream = Stream(separator)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.block_size = block_size or self.stream.hop_length
        # An empty block finds what is wrong, and how many sources there will be.
        self.n_sources = self._process(np.empty((0, reader.n_channels))).shape[1]
        self.n_samples = self.n_clipped = 0
        self.seconds = self.slowest = 0.0
        self.is_late = False
        if self.state and self.state.exists():
            self._load()
        elif self.state:
            self._replace(b"")  # whether it can be is known before any sample comes
            self.state.resolve().unlink()

    def run(self, writer, signals):
        """Separate until the input ends or a signal comes, and write all there is."""
        try:
            try:
                self._run(writer, signals)
            except Stopped:
                pass
            finally:
                if not (self.state and self._save()):
                    self._write(writer, self.stream.flush())
        except BrokenPipeError:
            pass  # nobody reads the output any more, which is a way to end it
        if self.n_clipped:
            warnings.warn(
                f"{self.n_clipped} samples are beyond full scale and were clipped. Use "
                "--out-format f32le to keep them."
            )

    def _run(self, writer, signals):
        for block in self.reader.blocks(self.block_size):
            start = time.perf_counter()
            y = self._process(block)
            seconds = time.perf_counter() - start
            self.seconds += seconds
            self.slowest = max(self.slowest, seconds)
            self.n_samples += len(block)
            self._write(writer, y)
            self._tell_if_late()
            if signals.stopped:
                break
            late = self.n_samples - self.n_saved
            if self.state and late >= SAVE_SECONDS * self.reader.sample_rate:
                self._save()

    def _tell_if_late(self):
        """Say once if sound comes faster than it is separated."""
        rate, n_channels = self.reader.sample_rate, self.reader.n_channels
        behind = self.seconds - self.n_samples / rate
        if self.is_late or behind < LATE or not isinstance(self.reader, PipeReader):
            return
        self.is_late = True
        warnings.warn(
            f"Separation is {behind:.0f} s behind the sound: this machine is too slow "
            f"for {n_channels} channels at {rate:g} Hz. Give fewer channels or 16 kHz, "
            "or --method onlineauxiva."
        )

    def _process(self, block):
        try:
            return self.stream.process(block)
        except (ValueError, MemoryError) as error:
            message = f"Cannot separate {self.reader.name}: {error}"
            raise RecordingError(message) from error

    def _load(self):
        """Continue from the file of the state."""
        try:
            with np.load(self.state) as state:
                self.stream.set_state(dict(state))
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ConfigError(
                f"Cannot continue from {self.state}: {str(error).rstrip('.')}. It is "
                "the state of another method, rate, latency or number of microphones, "
                "or damaged: remove it to begin anew."
            ) from error

    def _save(self):
        """Save the state, if anything was learned, and return whether it was."""
        try:
            state = self.stream.get_state()
        except NotFittedError:
            return False
        file = BytesIO()
        np.savez(file, **state)
        self._replace(file.getbuffer())
        self.n_saved = self.n_samples
        return True

    def _replace(self, data):
        """Replace the file of the state, which is whole at any time."""
        try:
            with whole_file(self.state, sync=False) as part:
                part.write_bytes(data)
        except OSError as error:
            message = f"Cannot write {self.state}: {reason(error)}."
            raise AudioFileError(message) from error

    def _write(self, writer, y):
        if writer.subtype in PCM_BITS:
            self.n_clipped += np.count_nonzero(abs(y) > 1)
            y = np.clip(y, -1, 1)
        if len(y):
            writer.write(y)

    def latency(self):
        """Return what is known beforehand."""
        milliseconds = 1000 * self.stream.latency_seconds
        return f"ready, latency {self.stream.latency} samples ({milliseconds:.1f} ms)"

    def summary(self):
        """Return what is known at the end."""
        rate = self.reader.sample_rate
        duration = self.n_samples / rate
        return (
            f"separated {duration:.1f} s in {self.seconds:.2f} s, real-time factor "
            f"{self.seconds / duration:.3f}, slowest block "
            f"{1000 * self.slowest:.1f} ms (of {1000 * self.block_size / rate:.1f} ms)"
        )


class Stopped(Exception):
    """A signal ended the wait for input."""


class StopSignals:
    """Let SIGINT and SIGTERM end the input, where nothing is lost; a second one kills.

    A context manager that handles both. Attribute `stopped` tells whether one came.
    """

    def __init__(self):
        self.stopped = self._waiting = False
        self.source = os.read

    def __enter__(self):
        both = signal.SIGINT, signal.SIGTERM
        self._previous = {number: signal.signal(number, self._stop) for number in both}
        return self

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _stop(self, number, frame):
        self.__exit__()
        self.stopped = True
        # Elsewhere an exception might leave a frame half learned or half written.
        if self._waiting:
            raise Stopped

    def read(self, descriptor, size):
        """Read like `os.read`, but raise Stopped as soon as a signal has come."""
        self._waiting = True
        try:
            if self.stopped:
                raise Stopped
            return self.source(descriptor, size)
        finally:
            self._waiting = False
