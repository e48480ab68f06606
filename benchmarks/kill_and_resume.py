"""Kill a benchmark at random moments, resume it, and compare with one left in peace.

Run ``python benchmarks/kill_and_resume.py`` (some minutes). Each time an experiment is
begun in a new folder, its process is killed by SIGKILL at a random moment, and the run
is resumed. Checked each time:

- the rows that were there before the resume are there after it, byte for byte: no
  finished task was done again;
- there is one row for each task, none lost, none doubled;
- scores, and the bytes of all audio files, are those of a run that nobody killed.
"""

# License: BSD-3-Clause

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COMMAND = [sys.executable, "-m", "skbss", "benchmark"]
EXPERIMENT = """\
dataset: {name: convolutive, n_scenes: 8, duration: 4.0}
stft: {n_fft: 2048}
methods:
  auxiva: {}
  ilrma: {grid: {ilrma.n_basis: [2, 4]}}
  onlineauxiva: {}
runtime: {n_jobs: 2, framewise: true}
"""


def start(*arguments):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **quiet)


def finish(*arguments):
    """Run to the end and return the seconds."""
    begin = time.monotonic()
    process = start(*arguments)
    if process.wait():
        raise SystemExit(f"Exit status {process.returncode} of {arguments}.")
    return time.monotonic() - begin


def read_table(folder):
    """Return the scores by task, and how many lines there are."""
    lines = (folder / "results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    table = {(row["recording"], row["candidate"]): row["scores"] for row in rows}
    return table, len(lines)


def read_audio(folder):
    """Return digests of all files but those that hold times."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "audio").rglob("*"))
        if path.is_file()
    }


def kill_and_resume(experiment, folder, seconds):
    """Kill a run after some seconds, resume it, and return how many rows it had."""
    process = start("run", experiment, "-o", folder)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    path = folder / "results.jsonl"
    before = path.read_bytes() if path.exists() else b""
    whole = before[: before.rfind(b"\n") + 1]
    if (folder / "environment.json").exists():
        finish("resume", folder)
    else:  # killed before it had begun
        finish("run", experiment, "-o", folder)
    assert path.read_bytes().startswith(whole), "a finished task was done again"
    return whole.count(b"\n"), len(before) - len(whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10, help="default: 10")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        experiment = folder / "experiment.yaml"
        experiment.write_text(EXPERIMENT)
        seconds = finish("run", experiment, "-o", folder / "in_peace")
        expected, n_tasks = read_table(folder / "in_peace")
        audio = read_audio(folder / "in_peace")
        print(f"in peace: {n_tasks} tasks, {len(audio)} audio files, {seconds:.1f} s")
        for k in range(args.times):
            moment = rng.uniform(0, seconds)
            run = folder / f"killed_{k}"
            n_before, n_torn = kill_and_resume(experiment, run, moment)
            table, n_lines = read_table(run)
            assert n_lines == n_tasks, f"{n_lines} rows, expected {n_tasks}"
            assert table == expected, "other scores"
            assert read_audio(run) == audio, "other audio"
            print(
                f"killed after {moment:5.1f} s with {n_before:2} of {n_tasks} rows and "
                f"{n_torn} torn bytes; resumed: the same table and audio",
                flush=True,
            )


if __name__ == "__main__":
    main()
