"""JSON Lines files, whole and torn, written by one process and by several."""

# License: BSD-3-Clause

import json
import os
import signal

import numpy as np
import pytest

from skbss import read_jsonl
from skbss.jsonl import append_jsonl
from tests.processes import CONTEXT, run


def test_numpy_and_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "log.jsonl"
    record = {"n": np.int64(2), "x": np.array([1.5, np.nan]), "y": (np.inf, True, None)}
    append_jsonl(path, record | {"name": "Büro", "path": path})
    text = path.read_text("utf-8")
    assert text.count("\n") == 1
    assert text.endswith("}\n")
    assert read_jsonl(path) == [
        {"n": 2, "x": [1.5, None], "y": [None, True, None]}
        | {"name": "Büro", "path": str(path)}
    ]

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads(text, parse_constant=refuse)


def test_a_line_break_in_a_value_stays_in_its_line(tmp_path):
    path = tmp_path / "log.jsonl"
    for text in ("a\nb", "\u2028", ""):
        append_jsonl(path, {"text": text})
    assert [record["text"] for record in read_jsonl(path)] == ["a\nb", "\u2028", ""]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_last_line_is_left_out(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"i": 0})
    append_jsonl(path, {"i": "ü"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    expected = [{"i": 0}, {"i": "ü"}] if cut == 1 else [{"i": 0}]
    if cut == 11:  # the second line is there but for its last byte
        expected = [{"i": 0}]
    assert read_jsonl(path) == expected[: 1 + (cut == 1)]


def test_appending_after_a_torn_line_loses_nothing_else(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"i": 0}\n{"i": 1')
    append_jsonl(path, {"i": 2})
    with pytest.warns(UserWarning, match="Left out line 2"):
        assert read_jsonl(path) == [{"i": 0}, {"i": 2}]


def test_what_is_no_object_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('\n[1]\n{"i": 0}\n\n3')
    with pytest.warns(UserWarning, match="Left out line 2"):
        assert read_jsonl(path) == [{"i": 0}]


def test_what_json_does_not_have_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "log.jsonl"
    with pytest.raises(TypeError, match="complex"):
        append_jsonl(path, {"z": 1j})
    assert not path.exists()


def append_many(path, name, n=300):
    for i in range(n):
        append_jsonl(path, {"process": name, "i": i, "x": "y" * 5000})


def append_and_die(path):
    append_many(path, "a", 5)
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_append_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    processes = [
        CONTEXT.Process(target=append_many, args=(path, name)) for name in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    records = read_jsonl(path)
    for name in "ab":
        own = [record["i"] for record in records if record["process"] == name]
        assert own == list(range(300))


def test_a_killed_process_leaves_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    assert run(append_and_die, path) == -signal.SIGKILL
    assert [record["i"] for record in read_jsonl(path)] == list(range(5))
