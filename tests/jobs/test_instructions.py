"""Instructions from files and modules: read in any layout, or refused with the place."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from jobs.data.instructions import read_instructions
from jobs.data.modules import read_module
from orchestrator.errors import InputError

TWO = [{"instruction": "a", "output": "b"}, {"instruction": "c", "input": "d", "output": "e", "more": 1}]
DOLLY = [
    {"instruction": "a", "context": "", "response": "b", "category": "x"},
    {"instruction": "c", "context": "d", "response": "e", "category": "y"},
]
READ = [
    {"instruction": "a", "input": "", "output": "b"},
    {"instruction": "c", "input": "d", "output": "e"},
]


@pytest.mark.parametrize("entries", [TWO, DOLLY])
@pytest.mark.parametrize("layout", ["array", "lines", "marked", "parquet"])
def test_every_layout_is_read_alike(tmp_path: Path, entries: list[dict[str, Any]], layout: str) -> None:
    path = tmp_path / "data"
    text = "\n".join(map(json.dumps, entries)) + "\n\n" if layout == "lines" else json.dumps(entries)
    path.write_text("\ufeff" + text if layout == "marked" else text, encoding="utf-8")
    if layout == "parquet":
        names = dict.fromkeys(name for entry in entries for name in entry)
        write_table(pa.table({name: [entry.get(name) for entry in entries] for name in names}), path)
    assert read_instructions(path) == READ


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no instruction"),
        (b"[]", "holds no instruction"),
        (b"[{", "is no JSON"),
        (b'{"instruction": "a", "output": "b"}\n<html>', "line 2: is no JSON"),
        (b"<!DOCTYPE html><html>503 Service Unavailable", "is a web page or XML, no data"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"PAR1 and no more", "is no whole Parquet file"),
        (b"[1]", "entry 1: is no object"),
        (
            b'[{"instruction": "a"}]',
            "entry 1: has no text under 'output': it has instruction; wanted: Alpaca: ",
        ),
        (b'[{"prompt": "a", "completion": "b"}]', "it has prompt, completion; wanted"),
        (b'[{"instruction": "a", "output": " "}]', "'output' is empty"),
        (b'[{"instruction": "a", "output": ["b"]}]', "has no text under 'output'"),
        (b'[{"instruction": "a", "output": "b", "input": 3}]', "'input' is no text"),
        (b'[{"instruction": "a", "response": "b", "context": 3}]', "'context' is no text"),
        (
            b'[{"instruction": "a", "output": "b"}, {"instruction": "a", "response": "b"}]',
            "entry 2: is in Dolly layout, and the first entry in Alpaca",
        ),
    ],
)
def test_malformed_data_is_told_with_its_place(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        read_instructions(path)
    assert str(path) in str(raised.value)


def test_of_many_problems_the_first_few_are_told(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{}] * 9))
    with pytest.raises(InputError) as raised:
        read_instructions(path)
    assert len(raised.value.problems) == 6
    assert "and 4 more" in raised.value.problems[-1]


class Server(ThreadingHTTPServer):
    """Answers every request with what was said last."""

    answer: tuple[int, bytes, int] = (200, b"", 0)  # status, body, bytes promised beyond it
    asked = 0


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked += 1
        status, body, missing = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    from litgpt import data

    with Server(("127.0.0.1", 0), _Answer) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{made.server_port}/alpaca.json"
        module = SimpleNamespace(file_url=url, file_name="x.json")
        monkeypatch.setattr(data, "Alpaca", lambda: module)
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def test_a_module_is_fetched_once_and_whole(server: Server, tmp_path: Path) -> None:
    whole = json.dumps(TWO).encode()
    for answer, words in (
        ((503, b"<html>Service Unavailable</html>", 0), "503"),
        ((200, b"<html>Please log in</html>", 0), "is a web page"),
        ((200, whole[:-9], 0), "is no JSON"),
        ((200, whole[:-9], 9), "could not be fetched"),
    ):
        server.answer = answer
        with pytest.raises(InputError, match=words):
            read_module("Alpaca", tmp_path)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    server.answer = (200, whole, 0)
    assert read_module("Alpaca", tmp_path) == READ
    asked = server.asked
    assert read_module("Alpaca", tmp_path) == READ
    assert server.asked == asked


def test_modules_of_several_files_are_fetched_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from litgpt.data import flan, longform

    here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(longform, "_URL", here)
    monkeypatch.setattr(
        flan.FLAN.__init__, "__defaults__", (*flan.FLAN.__init__.__defaults__[:-2], here, None)
    )
    server.answer = (200, json.dumps([{"input": "say a", "output": "a", "source": "x"}]).encode(), 0)
    one = {"instruction": "say a", "input": "", "output": "a"}
    assert read_module("LongForm", tmp_path) == [one, one]  # what it trains on and what it tests with
    server.answer = (200, b'{"inputs": "say b", "targets": "b"}\n{"inputs": "say c", "targets": "c"}\n', 0)
    found = read_module("FLAN/copa,cola", tmp_path)
    assert [entry["output"] for entry in found] == ["b", "c"] * 4
    assert found[0] == {"instruction": "say b", "input": "", "output": "b"}
    assert server.asked == 6
    with pytest.raises(InputError, match=r"FLAN: is 66 data sets: name those you want: litgpt:FLAN/cola"):
        read_module("FLAN", tmp_path)
    with pytest.raises(InputError, match=r"no part 'colla'; did you mean \"cola\"\?"):
        read_module("FLAN/colla,copa", tmp_path)


def test_what_is_no_module_of_instructions_is_refused(tmp_path: Path) -> None:
    for name in ("OpenWebText", "alpaca", "", "Alpaca/cola"):
        with pytest.raises(InputError, match=f"litgpt:{name}: is no module.*Alpaca, AlpacaGPT4"):
            read_module(name, tmp_path)
