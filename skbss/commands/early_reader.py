"""Standard input, read from the first moment on, while libraries load."""

# License: BSD-3-Clause

# Only the standard library is imported here: this comes before all else.
import os
import threading

CHUNK = 1 << 16
# Bytes that wait at most; then whoever writes waits, as for any pipe.
MOST = 1 << 30


def make_binary(descriptor):
    """Keep Windows from taking bytes for the ends of lines, or of the file."""
    if os.name == "nt":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)


class EarlyReader:
    """Reads a file descriptor in a thread of its own into a buffer.

    Parameters
    ----------
    descriptor : int
        What to read.
    """

    def __init__(self, descriptor=0):
        make_binary(descriptor)
        self._descriptor = descriptor
        self._data = bytearray()
        self._ended = False
        self._error = None
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while True:
            try:
                chunk = os.read(self._descriptor, CHUNK)
            except OSError as error:
                chunk, self._error = b"", error
            with self._changed:
                self._data += chunk
                self._ended = not chunk
                self._changed.notify_all()
                if self._ended:
                    return
                while len(self._data) >= MOST:
                    self._changed.wait()

    def read(self, descriptor, size):
        """Return at most so many bytes as soon as there are any, none at the end.

        Parameters
        ----------
        descriptor : int
            Ignored; as of `os.read`.
        size : int
            Most bytes.

        Returns
        -------
        data : bytes
            What has come.
        """
        with self._changed:
            while not (self._data or self._ended):
                self._changed.wait()
            if not self._data and self._error is not None:
                raise self._error
            data = bytes(self._data[:size])
            del self._data[:size]
            self._changed.notify_all()
            return data
