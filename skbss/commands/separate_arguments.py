"""The arguments of ``skbss separate``."""

# License: BSD-3-Clause

import argparse
from pathlib import Path

FORMATS = ("wav", "flac", "aiff", "au", "caf", "w64", "ogg", "mp3")

EPILOG = """\
input:
  IN is a file of any format that libsndfile reads (WAV, RF64, FLAC, AIFF, CAF, W64,
  MP3, Ogg, ...), with a channel for each microphone; a folder, of which all audio files
  are taken and whose subfolders the output has too; a pattern such as "day?/*.wav"; or
  "-", standard input. With --join all files are one recording, with their channels side
  by side, and so are all files of each folder.

output:
  OUT/<recording>_source0.wav, _source1.wav, ..., the loudest at the reference
  microphone first: as many as --n-sources says, or as there are microphones. They have
  the rate, the format and the sample format of the recording, unless that loses
  something (MP3, Ogg, ADPCM), when they are WAV files of 16 bits. WAV beyond 4 GB is
  RF64. Files of these names are replaced when the new ones are complete; until then
  those end in .part. Of recordings of the same name, the name of the folder comes
  first. Outputs may be louder than the recording, and are clipped then, with a warning,
  unless samples are floating point: those of the recording, or with --float.
  In the table, RTF is the real-time factor: the time of the separation over the
  duration of the recording. SI-SDRi is the improvement of the scale-invariant
  signal-to-distortion ratio in dB: the mean, and that of each source. Levels, shown for
  more than two microphones without --n-sources, are those of the outputs relative to
  the reference microphone: talkers are the loud ones.

long recordings:
  Beyond two minutes, recordings are separated by what their best minutes teach, four at
  most, in memory that doesn't grow with the length. People should stay where they are;
  if they move, every block is separated on its own, which --moving asks for.

parameters:
  Names are STEP.PARAMETER. The steps are stft, ilrma or auxiva, as the method, then
  projectionback and istft. The method refined has three stages, first, second and
  cancel, so that names have three parts: first.refine.max_iter. With --n-sources the
  first two are in sources.separator, and sources.masks separates more sources than
  there are microphones. With --denoise there is a stage denoise (stft, noisereducer,
  istft) at the end. With --dereverberate there are dereverberate at the beginning and
  dereverberate_again after separation (stft, wpe, istft each). In a YAML file names may
  be nested, and "method: auxiva" may stand beside them. --set counts more than the
  file, and the last --set more than those before.

references:
  The sources of a recording are the files source*.wav or source*.flac in a subfolder of
  DIR that has the name of the recording (without extension) or of the recording's own
  folder, or, for a single recording, in DIR itself. If they have several channels, that
  of the reference microphone counts.

exit status:
  0 if all is done; 1 if some recordings failed, with --keep-going; 2 if parameters or
  files cannot be used; 130 after Ctrl-C. What is wrong is told in a sentence.

examples:
  skbss separate --demo
  skbss separate meeting.wav -o separated
  skbss separate table_of_eight.wav -o separated --n-sources 3
  skbss separate hours.flac -o separated --jobs 4
  skbss separate recordings/ -o separated --jobs 2 --keep-going --json > log.jsonl
  skbss separate --join mic1.wav mic2.wav mic3.wav -o separated
  skbss separate interviews/ -o separated --report separated/page.html
  skbss separate office.wav -o separated --denoise --channels 1-4,7
  skbss separate hall.wav -o separated --dereverberate
  skbss separate interview.wav -o separated --target 0-2.5
  ffmpeg -i video.mp4 -f wav - | skbss separate - -o separated
  skbss separate *.flac -o separated --method auxiva --set auxiva.source=laplace
  skbss separate scenes/*/mixture.flac -o separated --reference-dir scenes
"""


def add_separate(commands):
    """Add ``skbss separate`` to the subcommands."""
    parser = commands.add_parser(
        "separate",
        help="separate recordings into one file per source",
        description="Separate recordings of several microphones, of minutes or hours, "
        "into as many sources, or fewer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_files(parser.add_argument_group("files"))
    _add_what(parser.add_argument_group("what to do"))
    _add_long(parser.add_argument_group("long recordings, and many"))
    _add_told(parser.add_argument_group("what is told"))


def _add_files(group):
    add = group.add_argument
    add("recordings", metavar="IN", nargs="*", type=Path, help="file, folder or -")
    add("-o", "--output", metavar="OUT", type=Path, help="folder for results (needed)")
    add("--demo", action="store_true", help="separate the bundled recording to demo/")
    add("--join", action="store_true", help="IN are the microphones of one recording")
    add(
        "--channels",
        metavar="LIST",
        help="which channels to use, counted from 1, such as 1-4,7 (default: all)",
    )
    add(
        "--format",
        choices=FORMATS,
        help="of the outputs (default: that of the recording)",
    )
    add(
        "--float",
        action="store_true",
        help="floating point samples, which aren't clipped (WAV, unless --format says "
        "another that has them)",
    )


def _add_what(group):
    add = group.add_argument
    add(
        "--method",
        metavar="NAME",
        help="one of --list-methods (default: refined), or module:attribute",
    )
    add("--list-methods", action="store_true", help="tell what methods there are")
    add(
        "--n-sources",
        metavar="K",
        type=int,
        help="how many people speak, if known, also more than there are microphones "
        "(default: as many)",
    )
    add(
        "--target",
        metavar="FROM-TO",
        help="a time in seconds, such as 3.0-8.5, in which only one talker speaks: "
        "_source0 is theirs",
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


def _add_long(group):
    add = group.add_argument
    add(
        "--block",
        metavar="S",
        type=float,
        help="length of blocks in seconds (default: 20, beyond two minutes); 0 "
        "separates all at once",
    )
    add(
        "--overlap",
        metavar="S",
        type=float,
        help="what blocks share in seconds (default: a quarter of a block)",
    )
    add(
        "--align",
        action="store_true",
        help="bring microphones of recorders to one time and one clock first, by "
        "the first two minutes",
    )
    add(
        "--moving",
        action="store_true",
        help="people move: every block is separated on its own",
    )
    add(
        "--jobs",
        metavar="N",
        type=int,
        help="how many blocks, or of several recordings how many of these, to separate "
        "at a time (default: 1; -1: all processors)",
    )
    add(
        "--keep-going",
        action="store_true",
        help="go on with others if a recording fails",
    )


def _add_told(group):
    add = group.add_argument
    add(
        "--reference-dir",
        metavar="DIR",
        type=Path,
        help="folder of the true sources, to score the results",
    )
    add(
        "--report",
        metavar="FILE",
        type=Path,
        help="write a page to look at and listen to all of it",
    )
    add("--json", action="store_true", help="print a line of JSON for each recording")
    add("-q", "--quiet", action="store_true", help="tell only what is wrong")
    add(
        "-v",
        "--verbose",
        action="store_true",
        help="tell progress even if stderr is no terminal",
    )


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
    add(
        "--ref-mic",
        metavar="N",
        type=int,
        help="reference microphone, counted from 0 (default: 0)",
    )
