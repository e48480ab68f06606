"""One recording separated, from file to files, in blocks if it is long."""

# License: BSD-3-Clause

import tempfile
import time
import warnings
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skbss.blocks import BlockBatch
from skbss.callbacks import OnProgress
from skbss.commands.aligned_reader import AlignedReader
from skbss.commands.console import Progress, tell
from skbss.commands.outputs import FileFormat, SourceFiles
from skbss.commands.recordings import Recording, RecordingError
from skbss.io import AudioFileError, AudioReader, AudioWriter
from skbss.methods import flat_steps
from skbss.metrics import si_sdr_improvement
from skbss.metrics.decibels import decibels
from skbss.sound_pipeline import SoundPipeline
from skbss.transforms.target_first import prominence

# Recordings beyond this, in seconds, are separated block by block. At 48 kHz and with
# four microphones all at once takes some 20 MB a second.
LONG = 120
# Blocks in which people who move stay about where they are, in seconds.
MOVING_BLOCK, MOVING_OVERLAP = 8.0, 4.0
COPY_SAMPLES = 2**20


@dataclass(frozen=True)
class Task:
    """What to do with a recording.

    Parameters
    ----------
    recording : Recording
        What to separate.
    pipeline : Pipeline
        From the microphones' signals to the sources'.
    method : str
        Its name.
    outputs : list of Path
        Files to write, one for each source.
    format : FileFormat
        Of these.
    ref_mic : int
        The reference microphone, for levels and scores.
    block, overlap : float or None
        In seconds, if told. A block of 0 means all at once.
    moving : bool
        Whether every block is separated on its own.
    n_jobs : int or None
        How many blocks to separate at a time.
    align : bool
        Whether to bring the microphones to one time and one clock first.
    target : tuple of float or None
        Seconds in which only the one speaks who is to be the first output.
    """

    recording: Recording
    pipeline: Pipeline
    method: str
    outputs: list[Path]
    format: FileFormat
    ref_mic: int
    block: float | None = None
    overlap: float | None = None
    moving: bool = False
    n_jobs: int | None = None
    align: bool = False
    target: tuple[float, float] | None = None


@dataclass
class Result:
    """What became of a recording.

    Attributes
    ----------
    recording : Recording
        The recording.
    outputs : list of Path
        The files that were written.
    seconds : float
        Time from the samples of the recording to those of the sources.
    levels : ndarray of shape (n_sources,) or None
        Levels of the outputs in dB, relative to the reference microphone.
    scores : ndarray of shape (n_sources,) or None
        SI-SDR improvement of each source in dB, if there are references.
    n_blocks : int
        Number of blocks.
    warnings : list of str
        What was warned of.
    error : Exception or None
        Why there are no outputs.
    """

    recording: Recording
    outputs: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    levels: np.ndarray | None = None
    scores: np.ndarray | None = None
    n_blocks: int = 1
    warnings: list[str] = field(default_factory=list)
    error: Exception | None = None


def attempt(task, progress=None):
    """Separate a recording and return what became of it, whatever goes wrong.

    Parameters
    ----------
    task : Task
        What to do.
    progress : str, default=None
        What to tell before each step of the pipeline, followed by its name, and in
        long ones by how much of it is done.

    Returns
    -------
    result : Result
        With the error, if there was one that a user can do something about.
    """
    result = Result(task.recording)
    with warnings.catch_warnings(record=True) as caught:
        try:
            _separate(task, result, progress)
        except (AudioFileError, RecordingError) as error:
            result.error = error
    result.warnings = [" ".join(str(w.message).split()) for w in caught]
    return result


def _separate(task, result, progress):
    recording, outputs = task.recording, task.outputs
    rate, path = recording.info.sample_rate, recording.path
    try:
        with _going_back(recording) as reader:
            files = SourceFiles(outputs, rate, task.format)
            keep = [] if recording.reference_paths else None
            reference_energy, done = 0.0, 0
            start = time.perf_counter()
            with files:
                for y in _pieces(task, reader, result, progress):
                    result.seconds += time.perf_counter() - start
                    if y.shape[1] != len(outputs):
                        raise RecordingError(
                            f"Cannot separate {path}: {task.method} gives "
                            f"{y.shape[1]} sources of it, expected {len(outputs)}."
                        )
                    files.write(y)
                    x = reader[done : done + len(y)][:, task.ref_mic]
                    reference_energy += np.square(x, dtype=float).sum()
                    done += len(y)
                    if keep is not None:
                        keep.append(y)
                    start = time.perf_counter()
            result.levels = decibels(files.energy, reference_energy)
            result.outputs = outputs
            if keep is not None:
                result.scores = _scores(task, reader, np.concatenate(keep))
    except AudioFileError:
        raise
    except BrokenExecutor as error:
        raise RecordingError(
            f"Cannot separate {path}: a process was killed, probably for lack of "
            "memory. Use fewer --jobs."
        ) from error
    except OSError as error:
        message = f"Cannot write to {outputs[0].parent}: {error.strerror}."
        raise AudioFileError(message) from error
    except (ValueError, MemoryError) as error:
        raise RecordingError(f"Cannot separate {path}: {error}") from error


def _pieces(task, reader, result, progress):
    """Yield the sources piece by piece, or in one piece."""
    if task.align:
        rate = task.recording.info.sample_rate
        reader = AlignedReader(reader, rate, task.ref_mic)
        if progress:
            tell(f"{progress}: {reader}")
    batch = blocks_of(task)
    if batch is not None:
        if progress:
            batch.set_callbacks(OnProgress(Progress(f"{progress}, in blocks")))
        if task.target is None:
            yield from batch.iter_fit_transform(reader)
        else:
            yield from target_first(batch, reader, task.target)
        result.n_blocks = batch.n_blocks_
        return
    y, gains = reader[:], None
    if isinstance(task.pipeline, SoundPipeline):
        y, filled, gains = task.pipeline.prepare(y)
    steps = list(flat_steps(task.pipeline))
    for i, (name, step) in enumerate(steps):
        if progress:
            count = f"step {i + 1}/{len(steps)}"
            told = Progress(f"{progress}, {count}: {name}")
            if hasattr(step, "set_callbacks"):
                step.set_callbacks(OnProgress(told))
        y = step.fit_transform(y)
    if gains is not None:  # some of it taught nothing
        y = task.pipeline.separate(filled, gains)
    yield y


def target_first(batch, reader, target):
    """Separate in blocks, and yield the output first that a time is the target's."""
    batch.fit(reader)
    first, last = (round(seconds * batch.sample_rate) for seconds in target)
    if not first < last <= len(reader):
        raise ValueError(
            f"Got target={target}, expected a time of the recording, which has "
            f"{len(reader) / batch.sample_rate:.6g} s."
        )
    if batch.is_moving_:
        warnings.warn("As people move, _source0 may not be the target.", stacklevel=2)
    spans = slice(first, last), slice(*batch.span_)
    known, others = (batch.estimator_.transform(reader[span]) for span in spans)
    shares = prominence(np.concatenate([known, others]), slice(len(known)))
    order = np.argsort(np.arange(len(shares)) != shares.argmax(), kind="stable")
    for piece in batch.iter_transform(reader):
        yield piece[:, order]


def without_target(pipeline):
    """Return a pipeline for blocks, in most of which the target isn't alone."""
    params = {n: None for n in pipeline.get_params() if n.endswith("target")}
    if "targetfirst" in pipeline.named_steps:
        params["targetfirst"] = "passthrough"
    return clone(pipeline).set_params(loudestfirst__keep_first=False, **params)


def blocks_of(task):
    """Return what separates a recording in blocks, or None if that is done at once."""
    first = task.pipeline[0]
    given = {"block": task.block, "overlap": task.overlap, "n_jobs": task.n_jobs}
    given = {name: value for name, value in given.items() if value is not None}
    if task.moving:
        given = {"block": MOVING_BLOCK, "overlap": MOVING_OVERLAP} | given
        given["refine"] = None
    if isinstance(first, BlockBatch) and len(task.pipeline) == 1:
        return first.set_params(**given)
    limit = LONG if task.block is None else task.block
    if task.moving:
        limit = given["block"]
    is_long = task.recording.duration > limit > 0
    if not (is_long and isinstance(task.pipeline, SoundPipeline)):
        return None
    rate, pipeline = task.recording.info.sample_rate, task.pipeline
    if task.target is not None:
        pipeline = without_target(pipeline)
    return BlockBatch(pipeline, sample_rate=rate, **given)


@contextmanager
def _going_back(recording):
    """Yield a reader in which going back costs nothing, unlike in MP3."""
    reader = recording.reader
    if reader.info.format != "MP3" or recording.duration <= LONG:
        yield reader
        return
    with tempfile.TemporaryDirectory(prefix="skbss-") as folder:
        copy = Path(folder) / "decoded.w64"
        rate, n_channels = reader.info.sample_rate, reader.shape[1]
        with AudioWriter(copy, rate, n_channels, subtype="FLOAT") as file:
            for part in reader.parts(COPY_SAMPLES):
                file.write(part)
        yield AudioReader(copy)


def _scores(task, reader, y):
    references = task.recording.read_references(task.ref_mic)
    x = reader[:]
    try:
        # Sums over minutes need double precision.
        y, x = y.astype(float), x.astype(float)
        return si_sdr_improvement(references, y, x, ref_mic=task.ref_mic)
    except ValueError as error:
        message = f"Cannot score {task.recording.path}: {error}"
        raise RecordingError(message) from error
