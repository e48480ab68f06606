"""The ``skbss`` command."""

# License: BSD-3-Clause

import argparse
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from skbss.commands.console import show_warning, tell

# Numerical modules are imported by the subcommands: --help doesn't wait for them.

SEPARATE_EPILOG = """\
parameters:
  Names are STEP.PARAMETER, where the steps are stft, ilrma or auxiva, projectionback
  and istft. In a YAML file they may be nested, and "method: auxiva" may stand beside
  them. --set counts more than the file, and the last --set more than those before.

references:
  The sources of a recording are the files source*.wav or source*.flac in a subfolder of
  DIR that has the name of the recording (without extension) or of the recording's own
  folder, or, for a single recording, in DIR itself. If they have several channels, that
  of the reference microphone counts.

output:
  OUT/<recording>_source0.wav, _source1.wav, ..., at the rate and in the sample format
  of the recording; files of these names are replaced. Of recordings of the same name,
  the name of the folder comes first. In the table, RTF is the real-time factor: the
  time of the separation, without files, over the duration of the recording. SI-SDRi is
  the improvement of the scale-invariant signal-to-distortion ratio in dB: the mean, and
  that of each source.

examples:
  skbss separate --demo
  skbss separate meeting.wav -o separated
  skbss separate *.flac -o separated --method auxiva --set auxiva.source=laplace
  skbss separate scenes/*/mixture.flac -o separated --reference-dir scenes
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
    return parser


def add_separate(commands):
    """Add ``skbss separate`` to the subcommands."""
    parser = commands.add_parser(
        "separate",
        help="separate recordings into one file per source",
        description="Separate WAV or FLAC recordings of several microphones into as "
        "many sources.",
        epilog=SEPARATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("recordings", metavar="IN", nargs="*", type=Path, help="WAV or FLAC file")
    add("-o", "--output", metavar="OUT", type=Path, help="folder of the results")
    add("--demo", action="store_true", help="separate the bundled recording to demo/")
    add("--method", metavar="NAME", help="ilrma (default) or auxiva")
    add(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a parameter, for example ilrma.n_basis=4; may be repeated",
    )
    add("--config", metavar="FILE", type=Path, help="YAML file of parameters")
    add("--ref-mic", metavar="N", type=int, help="reference microphone (default: 0)")
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
