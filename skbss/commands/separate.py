"""``skbss separate``: recordings in, one file per source out."""

# License: BSD-3-Clause

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from joblib import Parallel, delayed, effective_n_jobs

from skbss.commands.console import say, tell
from skbss.commands.inputs import find_inputs, parse_channels
from skbss.commands.outputs import choose_format, output_paths
from skbss.commands.pipelines import (
    build_pipeline,
    check_window,
    list_methods,
    read_params,
    reference_of,
)
from skbss.commands.recordings import (
    RecordingError,
    check_recording,
    find_references,
)
from skbss.commands.results import Table, print_json
from skbss.commands.work import Result, Task, attempt
from skbss.config import ConfigError
from skbss.datasets import load_cocktail_party
from skbss.io import READ_SUFFIXES, AudioFileError, reason, write_audio
from skbss.transforms import STFT

FAILED = 1
# Recordings that can't be used of which it is told why.
TOLD = 5


def run(args):
    """Check everything, then separate one recording after the other.

    Parameters
    ----------
    args : argparse.Namespace
        As ``skbss.cli`` parses them.

    Returns
    -------
    status : int
        0, or 1 if some recordings failed and the others went on.

    Raises
    ------
    ConfigError, AudioFileError, RecordingError
        If parameters or files cannot be used. Nothing is written then, but for the
        results of the recordings that were separated before.
    """
    if args.list_methods:
        say(list_methods())
        return 0
    check_arguments(args)
    method, params = read_params(args)
    # Wrong names and values are found before any file is read or written.
    ref_mic = reference_of(
        build_pipeline(method, params, 16_000), params.get("ref_mic", 0)
    )
    folder = args.output or Path("demo")
    if args.demo:
        args.recordings, args.reference_dir = [write_demo(folder)], folder
    with ExitStack() as stack:
        recordings, failed = check_recordings(args, ref_mic, stack)
        tasks = make_tasks(args, recordings, method, params, ref_mic)
        results = separate_all(args, tasks)
        if args.report:
            write_report(args.report, results, failed, method, ref_mic)
    n_failed = len(failed) + sum(result.error is not None for result in results)
    n_files = sum(
        len(task.outputs)
        for task, result in zip(tasks, results, strict=True)
        if result.error is None
    )
    if not args.json and not args.quiet and n_files:
        say(f"Wrote {n_files} files to {folder}{os.sep}")
    if args.demo and not args.json and not args.quiet:
        first, second = tasks[0].outputs
        say(f"Listen to {recordings[0].path}, then to {first} and {second}.")
    if n_failed:
        tell(f"skbss separate: {n_failed} of {args.n_inputs} recordings failed")
    return FAILED if n_failed else 0


def check_arguments(args):
    """Raise ConfigError if arguments are missing or contradict each other."""
    if args.demo and (args.recordings or args.reference_dir):
        raise ConfigError("Got --demo, which takes no recordings and no references.")
    if not args.demo and not args.recordings:
        raise ConfigError("Got no recordings. Try --demo.")
    if not args.demo and not args.output:
        raise ConfigError("Got no output folder, expected -o OUT.")
    if args.output and args.output.suffix in READ_SUFFIXES and not args.output.is_dir():
        raise ConfigError(
            f"Got -o {args.output}, expected a folder: each source gets a file in it."
        )
    if args.quiet and args.verbose:
        raise ConfigError("Got both --quiet and --verbose.")
    for name in ("block", "overlap"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < float("inf"):
            raise ConfigError(f"Got --{name} {value:g}, expected seconds from 0.")
    if args.moving and args.target:
        raise ConfigError(
            "Got both --moving and --target, which needs people to stay in their "
            "places."
        )
    if args.overlap is None and args.block is not None:
        args.overlap = args.block / 4
    if args.block and args.overlap > args.block / 2:
        raise ConfigError(
            f"Got --overlap {args.overlap:g}, expected at most half of --block "
            f"{args.block:g}."
        )


def shows_progress(args):
    """Whether to tell what is being done."""
    return not args.quiet and (args.verbose or sys.stderr.isatty())


def check_recordings(args, ref_mic, stack):
    """Check all recordings and their references.

    Parameters
    ----------
    args : argparse.Namespace
        What was given.
    ref_mic : int
        The reference microphone.
    stack : ExitStack
        Removes what standard input is copied to, in the end.

    Returns
    -------
    recordings : list of Recording
        Those that can be used.
    failed : list of (str, Exception)
        Names of those that can't be, with ``--keep-going``, and why.

    Raises
    ------
    AudioFileError, RecordingError
        If nothing is there or, without ``--keep-going``, some can't be used.
    """
    channels = parse_channels(args.channels) if args.channels else None
    inputs = find_inputs(
        args.recordings, join=args.join, stack=stack, output=args.output
    )
    args.n_inputs = len(inputs)
    more_sources = read_params(args)[0] == "refined"
    recordings, failed = [], []
    for found in inputs:
        if shows_progress(args):
            tell(f"checking {found.name}", transient=True)
        try:
            references = []
            if args.reference_dir:
                references = find_references(
                    args.reference_dir, found.paths[0], is_only=len(inputs) == 1
                )
            recording = check_recording(
                found,
                references,
                ref_mic,
                args.n_sources,
                channels,
                more_sources=more_sources,
                pad=args.align,
            )
            recordings.append(recording)
        except (AudioFileError, RecordingError) as error:
            failed.append((found.name, error))
            if args.keep_going:
                tell_failure(args, found.name, Result(None, error=error))
    if failed and not args.keep_going:
        said = [str(error) for _, error in failed[:TOLD]]
        if len(failed) > TOLD:
            said.append(f"So it is with {len(failed) - TOLD} others.")
        if len(inputs) > 1:
            they = "it is" if len(failed) == 1 else "they are"
            said.append(f"With --keep-going {they} left out.")
        raise RecordingError(" ".join(said))
    return recordings, failed


def make_tasks(args, recordings, method, params, ref_mic):
    """Decide all that is to be done with recordings, before anything is written."""
    sizes = {(r.info.sample_rate, r.n_mics) for r in recordings}
    pipelines = {size: build_pipeline(method, params, *size) for size in sizes}
    for pipeline in pipelines.values():
        for part in pipeline.get_params().values():
            if isinstance(part, STFT):
                check_window(part)
    folder = args.output or Path("demo")
    formats = [
        choose_format(r.info, len(r.reader), args.format, floats=args.float)
        for r in recordings
    ]
    outputs = output_paths(recordings, formats, folder, params.get("n_sources"))
    make_folder(folder)
    several = len(recordings) > 1
    return [
        Task(
            recording,
            pipelines[recording.info.sample_rate, recording.n_mics],
            method,
            files,
            format,
            ref_mic,
            block=args.block,
            overlap=args.overlap,
            moving=args.moving,
            align=args.align,
            target=params.get("target"),
            n_jobs=None if several else args.jobs,
        )
        for recording, files, format in zip(recordings, outputs, formats, strict=True)
    ]


def separate_all(args, tasks):
    """Separate recordings and print what becomes of them.

    Returns
    -------
    results : list of Result
        What became of them; some have failed, with ``--keep-going``.
    """
    table = None
    if not args.json and not args.quiet and tasks:
        recordings = [task.recording for task in tasks]
        table = Table(recordings, n_sources=args.n_sources)
    results = []
    for task, result in zip(tasks, results_of(args, tasks), strict=True):
        if not args.quiet:
            for message in result.warnings:
                tell(f"skbss: warning: {message}")
        if result.error is not None:
            if not args.keep_going:
                raise result.error
            tell_failure(args, task.recording.path, result)
        elif args.json:
            print_json(task.recording.path, result)
        elif table is not None:
            table.add(result)
        results.append(result)
    if table is not None:
        table.finish()
    return results


def results_of(args, tasks):
    """Yield results of tasks in order, several at a time if asked for."""
    whats = [
        f"[{k + 1}/{len(tasks)}] separating {task.recording.path}: "
        f"{task.recording.duration:.1f} s, {task.recording.n_mics} microphones"
        for k, task in enumerate(tasks)
    ]
    progress = shows_progress(args)
    if len(tasks) == 1 or effective_n_jobs(args.jobs) == 1:
        for task, what in zip(tasks, whats, strict=True):
            yield attempt(task, what if progress else None)
        return
    parallel = Parallel(n_jobs=args.jobs, return_as="generator", batch_size=1)
    results = parallel(delayed(attempt)(task) for task in tasks)
    for what in whats:
        if progress:
            tell(what, transient=True)
        yield next(results)


def write_report(path, results, failed, method, ref_mic):
    """Write the page to look and listen."""
    try:
        # Other libraries, which need a folder of their own.
        from skbss.commands.page import write_page

        write_page(path, results, failed, method, ref_mic)
    except OSError as error:
        raise AudioFileError(f"Cannot write {path}: {reason(error)}.") from error


def tell_failure(args, name, result):
    """Tell what is wrong with a recording, while others go on."""
    if args.json:
        print_json(name, result)
    tell(f"skbss separate: {' '.join(str(result.error).split())}")


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
