"""The ``skbss`` command."""

# License: BSD-3-Clause

import argparse
import errno
import warnings
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version

from skbss.commands.benchmark_arguments import add_benchmark
from skbss.commands.console import StdoutError, prepare_streams, show_warning, tell
from skbss.commands.separate_arguments import add_parameters, add_separate

# Numerical modules are imported by the subcommands: --help doesn't wait for them.

STREAM_EPILOG = """\
input and output:
  IN is a WAV or FLAC file, OUT a WAV file with one channel for each source. Either may
  be "-", raw PCM of interleaved channels, from standard input or to standard output.
  Standard input is read from the first moment on, and waits in memory while libraries
  load. The header of a WAV file may come first; it has to agree with what is told. A
  file OUT that is there already is kept unless --overwrite is given.
  OUT is valid after every block, whatever happens, and becomes RF64 beyond 4 GB. Memory
  doesn't grow, so this may go on for days.

end:
  When the input ends, or at SIGINT (Ctrl-C) or SIGTERM, what has come in is separated
  to the last sample and the exit status is 0. A second signal doesn't wait for that.

on standard error:
  "ready" as soon as all is loaded, with the latency: the samples that the output is
  behind the input, as --latency says;
  for onlineauxiva and onlineilrma the most, decided by the window, stft.n_fft. At the
  end the real-time factor (the time of the separation over the duration of the
  recording) and the slowest block, which for live input has to stay below the duration
  of a block.

parameters:
  Names are METHOD.PARAMETER, as in onlineseparator.period. The methods onlineauxiva and
  onlineilrma have more steps: stft, projectionback and istft. --set and --config work
  as in "skbss separate".

examples:
  skbss stream meeting.wav sources.wav --latency 1
  skbss stream meeting.flac sources.wav --method onlineilrma --set stft.n_fft=1024
  arecord -t raw -f S16_LE -r 16000 -c 2 | \\
      skbss stream - - --rate 16000 --channels 2 | aplay -f S16_LE -r 16000 -c 2
"""

# Sample formats as ffmpeg and as ALSA call them.
FORMATS = {
    "s16le": "S16_LE",
    "s24le": "S24_3LE",
    "s32le": "S32_LE",
    "f32le": "FLOAT_LE",
    "f64le": "FLOAT64_LE",
}


def main(argv=None):
    """Run the command.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments; None takes those of the process.

    Returns
    -------
    status : int
        0; 1 if some recordings failed and the others went on, with ``--keep-going``; 2
        if the parameters or files cannot be used; 130 if interrupted; 141 if nobody
        reads standard output. What is wrong is told in one sentence on stderr.
    """
    prepare_streams()
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        tell(parser.format_help())
        return 2
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return run(args)
    except KeyboardInterrupt:
        tell("skbss: interrupted")
        return 130
    except StdoutError as error:
        if error.errno == errno.EPIPE:  # nobody reads on, as in a pipe to head
            return 141
        tell(f"skbss {args.command}: Cannot write to stdout: {error.strerror}.")
        return 2


def run(args):
    """Run the subcommand and return the exit status."""
    if args.command == "stream" and args.input == "-":
        from skbss.commands.early_reader import EarlyReader

        args.stdin = EarlyReader()
    from skbss.commands.recordings import RecordingError
    from skbss.config import ConfigError
    from skbss.io import AudioFileError

    try:
        status = import_module(f"skbss.commands.{args.command}").run(args)
    except (AudioFileError, ConfigError, RecordingError) as error:
        tell(f"skbss {args.command}: {' '.join(str(error).split())}")
        return 2
    return status or 0


class Parser(argparse.ArgumentParser):
    """A parser that says what options it has, and which may be meant by an unknown one.

    By itself argparse leaves what a subcommand doesn't know to the command, whose usage
    it shows, where there are no options.
    """

    def parse_known_args(self, args=None, namespace=None):
        """Parse arguments, all of which have to be known."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = self._option_string_actions
            said = [word.partition("=")[0] for word in unknown if word[:1] == "-"]
            near = [n for word in said for n in get_close_matches(word, known, 1, 0.8)]
            hint = f". Is {' and '.join(near)} meant?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return namespace, unknown


def make_parser():
    """Return the parser of the command and its subcommands."""
    parser = Parser(
        prog="skbss",
        description="Blind source separation of multichannel audio.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("skbss"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add_completion(parser)
    add_separate(commands)
    add_stream(commands)
    add_benchmark(commands)
    commands.add_parser(
        "warmup",
        help="load and compile what would take time on first use",
        description="Separate some noise, so that libraries are loaded and what the "
        "extra fast compiles is compiled and kept: in images, and before a service "
        "begins.",
        allow_abbrev=False,
    )
    return parser


def add_completion(parser):
    """Add what prints the script by which a shell completes arguments."""
    try:
        import shtab
    except ImportError:
        needs = "needs the extra completion: pip install 'skbss[completion]'"
        parser.add_argument("--print-completion", action=_Missing, nargs=1, help=needs)
    else:
        shtab.add_argument_to(parser, help="print a script that completes arguments")


class _Missing(argparse.Action):
    def __call__(self, parser, *args):
        parser.error(f"{self.option_strings[0]} {self.help}")


def sample_format(name):
    """Return the name of a sample format, which may be ALSA's."""
    known = {alsa.lower(): name for name, alsa in FORMATS.items()}
    known |= {name: name for name in FORMATS}
    if name.lower() == "s24_le":
        raise argparse.ArgumentTypeError(
            f"{name} has 24 bits in 4 bytes, expected s24le (S24_3LE), which has 3: "
            "record with S32_LE instead"
        )
    if name.lower() not in known:
        names = ", ".join([*FORMATS, *FORMATS.values()])
        raise argparse.ArgumentTypeError(f"got {name!r}, expected one of {names}")
    return known[name.lower()]


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
    add("input", metavar="IN", help="WAV or FLAC file, or - for raw PCM")
    add("output", metavar="OUT", help="WAV file, or - for raw PCM")
    add("--rate", metavar="HZ", type=int, help="sample rate of raw input")
    add("--channels", metavar="N", type=int, help="microphones of raw input")
    formats = f"{', '.join(FORMATS)} or ALSA's names"
    add(
        "--format",
        metavar="NAME",
        type=sample_format,
        help=f"samples of raw input: {formats} (default: s16le)",
    )
    add(
        "--out-format",
        metavar="NAME",
        type=sample_format,
        help="samples of OUT (default: as of IN)",
    )
    add("--overwrite", action="store_true", help="replace OUT if it is there already")
    add(
        "--state",
        metavar="FILE",
        help="continue from what is in FILE, if it exists, and keep it up to date: "
        "every ten seconds, and at the end, where what is late stays for the next run",
    )
    add(
        "--block",
        metavar="N",
        type=int,
        help="samples read at once (default: a hop)",
    )
    add(
        "--latency",
        metavar="SECONDS",
        type=float,
        help="how far the output is behind, from 0.008 to 2 (default: 0.128)",
    )
    add("--n-sources", metavar="N", type=int, help="outputs (default: microphones)")
    add(
        "--target",
        metavar="FROM-TO",
        help="a time in seconds, such as 0-2.5, in which only one talker speaks: from "
        "then on the first output is theirs",
    )
    add(
        "--method",
        metavar="NAME",
        help="onlineseparator (default), onlineauxiva or onlineilrma",
    )
    add_parameters(add, "onlineseparator.window=20")
