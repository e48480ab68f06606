"""The ``skbss`` command."""

# License: BSD-3-Clause

import argparse
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from skbss.commands.benchmark_arguments import add_benchmark
from skbss.commands.console import show_warning, tell

# Numerical modules are imported by the subcommands: --help doesn't wait for them.

SEPARATE_EPILOG = """\
parameters:
  Names are STEP.PARAMETER. The steps are stft, ilrma or auxiva, as the method, then
  projectionback and istft. The method refined has three stages, first (stft, ilrma,
  refine, projectionback, sort, istft), second (stft, refine, projectionback, istft) and
  cancel (short, long, again: stft, cancel, istft each), so that names have three parts:
  first.refine.max_iter. With --n-sources the first two are in sources.separator. With
  --denoise there is a stage denoise (stft, noisereducer, istft) at the end. With
  --dereverberate there are dereverberate at the beginning and dereverberate_again after
  separation (stft, wpe, istft each). In a YAML file names may be nested, and
  "method: auxiva" may stand beside them. --set counts more than the file, and the last
  --set more than those before.

references:
  The sources of a recording are the files source*.wav or source*.flac in a subfolder of
  DIR that has the name of the recording (without extension) or of the recording's own
  folder, or, for a single recording, in DIR itself. If they have several channels, that
  of the reference microphone counts.

output:
  OUT/<recording>_source0.wav, _source1.wav, ..., the loudest at the reference
  microphone first: as many as --n-sources says, or as there are microphones. They have
  the rate and the sample format (and are .flac if it is) of the recording; files of
  these names are replaced. Of recordings of the same name, the name of the folder comes
  first. Outputs may be louder than the recording, and are clipped then, with a warning,
  unless its samples are floating point.
  In the table, RTF is the real-time factor: the time of the separation, without files,
  over the duration of the recording. SI-SDRi is the improvement of the scale-invariant
  signal-to-distortion ratio in dB: the mean, and that of each source. Levels, shown for
  more than two microphones without --n-sources, are those of the outputs relative to
  the reference microphone: talkers are the loud ones.

examples:
  skbss separate --demo
  skbss separate meeting.wav -o separated
  skbss separate table_of_eight.wav -o separated --n-sources 3
  skbss separate office.wav -o separated --denoise
  skbss separate hall.wav -o separated --dereverberate
  skbss separate *.flac -o separated --method auxiva --set auxiva.source=laplace
  skbss separate scenes/*/mixture.flac -o separated --reference-dir scenes
"""

STREAM_EPILOG = """\
input and output:
  IN is a WAV or FLAC file, OUT a WAV file with one channel for each source. Either may
  be "-", raw PCM of interleaved channels, from standard input or to standard output.
  OUT is valid after every block, whatever happens, and becomes RF64 beyond 4 GB. Memory
  doesn't grow, so this may go on for days.

end:
  When the input ends, or at SIGINT (Ctrl-C) or SIGTERM, what has come in is separated
  to the last sample and the exit status is 0. A second signal doesn't wait for that.

on standard error:
  First the latency: the most samples that the output is behind the input, decided by
  the window, stft.n_fft. At the end the real-time factor (the time of the separation
  over the duration of the recording) and the slowest block, which for live input has to
  stay below the duration of a block.

parameters:
  Names are STEP.PARAMETER, where the steps are stft, onlineauxiva or onlineilrma,
  projectionback and istft. --set and --config work as in "skbss separate".

examples:
  skbss stream meeting.wav sources.wav
  skbss stream meeting.flac sources.wav --method onlineilrma --set stft.n_fft=1024
  arecord -t raw -f S16_LE -r 16000 -c 2 | \\
      skbss stream - - --rate 16000 --channels 2 | aplay -f S16_LE -r 16000 -c 2
"""


def main(argv=None):
    """Run the command.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments; None takes those of the process.

    Returns
    -------
    status : int
        0, or 2 if the parameters or files cannot be used, 130 if interrupted. What is
        wrong is told in one sentence on stderr.
    """
    args = make_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return run(args)
    except KeyboardInterrupt:
        tell("skbss: interrupted")
        return 130


def run(args):
    """Run the subcommand and return the exit status."""
    from skbss.commands.recordings import RecordingError
    from skbss.config import ConfigError
    from skbss.io import AudioFileError

    try:
        import_module(f"skbss.commands.{args.command}").run(args)
    except (AudioFileError, ConfigError, RecordingError) as error:
        tell(f"skbss {args.command}: {' '.join(str(error).split())}")
        return 2
    return 0


def make_parser():
    """Return the parser of the command and its subcommands."""
    parser = argparse.ArgumentParser(
        prog="skbss",
        description="Blind source separation of multichannel audio.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("skbss"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_separate(commands)
    add_stream(commands)
    add_benchmark(commands)
    return parser


def add_separate(commands):
    """Add ``skbss separate`` to the subcommands."""
    parser = commands.add_parser(
        "separate",
        help="separate recordings into one file per source",
        description="Separate WAV or FLAC recordings of several microphones into as "
        "many sources, or fewer.",
        epilog=SEPARATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("recordings", metavar="IN", nargs="*", type=Path, help="WAV or FLAC file")
    add(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        help="folder for results (needed)",
    )
    add("--demo", action="store_true", help="separate the bundled recording to demo/")
    add("--method", metavar="NAME", help="refined (default), ilrma or auxiva")
    add(
        "--n-sources",
        metavar="K",
        type=int,
        help="how many people speak, if known (default: as many as microphones)",
    )
    add(
        "--denoise",
        action="store_true",
        default=None,
        help="take stationary noise, as of fans, out of the outputs",
    )
    add(
        "--dereverberate",
        action="store_true",
        default=None,
        help="take reverberation off, of which early reflections are left",
    )
    add_parameters(add, "first.refine.max_iter=30")
    add(
        "--reference-dir",
        metavar="DIR",
        type=Path,
        help="folder of the true sources, to score the results",
    )
    add(
        "-v",
        "--verbose",
        action="store_true",
        help="tell progress even if stderr is no terminal",
    )


def add_stream(commands):
    """Add ``skbss stream`` to the subcommands."""
    parser = commands.add_parser(
        "stream",
        help="separate a recording while it comes in",
        description="Separate a recording of several microphones into as many sources, "
        "block by block while it comes in.",
        epilog=STREAM_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    formats = ("s16le", "s24le", "s32le", "f32le", "f64le")
    add("input", metavar="IN", help="WAV or FLAC file, or - for raw PCM")
    add("output", metavar="OUT", help="WAV file, or - for raw PCM")
    add("--rate", metavar="HZ", type=int, help="sample rate of raw input")
    add("--channels", metavar="N", type=int, help="microphones of raw input")
    add("--format", choices=formats, help="samples of raw input (default: s16le)")
    add("--out-format", choices=formats, help="samples of OUT (default: as of IN)")
    add(
        "--block",
        metavar="N",
        type=int,
        help="samples read at once (default: a hop)",
    )
    add("--method", metavar="NAME", help="onlineauxiva (default) or onlineilrma")
    add_parameters(add, "onlineauxiva.forget=0.99")


def add_parameters(add, example):
    """Add what says the parameters of a pipeline."""
    add(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help=f"set a parameter, for example {example}; may be repeated",
    )
    add("--config", metavar="FILE", type=Path, help="YAML file of parameters")
    add("--ref-mic", metavar="N", type=int, help="reference microphone (default: 0)")
