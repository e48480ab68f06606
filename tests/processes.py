"""Processes of their own, begun by one that has imported all that they need.

To start Python and import scipy and scikit-learn takes longer than most tests.
"""

# License: BSD-3-Clause

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection

from joblib.externals.loky.backend.context import set_start_method

from skbss.cli import main

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["skbss.benchmark", "skbss.commands.stream", "skbss.commands.separate"]
)
set_start_method("forkserver", force=True)  # of joblib's workers, too


def run(function, *arguments):
    """Call a function in the folder that is current here, and return the exit code."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def run_code(code):
    return run(exec, code, {"__name__": "code"})


def _run_command(arguments, pipes):
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    # A shell lets processes that it starts in the background ignore interruptions.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(arguments))


class Command:
    """The command, as `subprocess.Popen` with pipes; its output may go to a file."""

    def __init__(self, *arguments, stdout=None):
        (stdin, ours), (out, output), (err, error) = (os.pipe() for _ in range(3))
        self.stdin, self.stdout = os.fdopen(ours, "wb", 0), os.fdopen(out, "rb", 0)
        self.stderr = os.fdopen(err, "rb")
        pipes = [Connection(end) for end in (stdin, output, error)]
        if stdout is not None:
            os.dup2(stdout.fileno(), output)
        self._process = CONTEXT.Process(target=_run_command, args=(arguments, pipes))
        self._process.start()
        for pipe in pipes:
            pipe.close()

    pid = property(lambda self: self._process.pid)
    returncode = property(lambda self: self._process.exitcode)

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        self._process.join()
        return self.returncode

    def communicate(self, data=b""):
        """Write the last of the input, and read all that comes."""
        with self.stdout, self.stderr, ThreadPoolExecutor() as pool:
            rest = [pool.submit(file.read) for file in (self.stdout, self.stderr)]
            with self.stdin:
                self.stdin.write(data)
            output, error = (future.result() for future in rest)
        self.wait()
        return output, error
