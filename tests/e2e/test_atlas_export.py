"""Sharing an atlas from the command line: whole files and their size, three parts for trouble, nothing half written."""

import json
import resource
import subprocess
import sys

import pytest

from forks import run_command
from patchclamp.cli import main

CAT = "blocks.0.mlp.act/neurons/7"


@pytest.fixture
def say(capsys):
    """Run a command in process; return its exit code and what it printed."""

    def run(*words):
        code = main(["atlas", "export", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def test_a_page_from_the_command_line(seeded_atlas, tmp_path):
    out = tmp_path / "cat.html"
    words = ["atlas", "export", seeded_atlas, "--format", "html", "--unit", CAT, "--out", out]
    done = run_command(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}: 1 unit, {out.stat().st_size / 1000:.0f} kB\n"
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "blocks.0.mlp.act 7" in page


@pytest.mark.parametrize("format", ["parquet", "neuronpedia"])
def test_folders_from_the_command_line(say, seeded_atlas, tmp_path, format):
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet and the dev group")
    out = tmp_path / "shared"
    code, told, _ = say(seeded_atlas, "--format", format, "--out", out, "--json")
    found = json.loads(told)
    assert (code, found["format"], found["units"]) == (0, format, 40)
    files = {file.relative_to(out).as_posix(): file.stat().st_size for file in out.rglob("*") if file.is_file()}
    assert found["files"] == files
    assert found["bytes"] == sum(files.values())
    code, told, _ = say(seeded_atlas, "--format", format, "--out", out, "--json")
    assert code == 2
    assert "--out" in json.loads(told)["error"]["remedy"]


def test_trouble_has_three_parts(say, seeded_atlas, tmp_path):
    for words, part in (
        (("nowhere", "--format", "html", "--unit", CAT, "--out", "x.html"), "not there"),
        ((seeded_atlas, "--format", "html", "--out", "x.html"), "none"),
        ((seeded_atlas, "--format", "html", "--unit", "blocks.0.mlp.act/neurons/77", "--out", "x.html"), "neurons/77"),
        ((seeded_atlas, "--format", "html", "--unit", CAT, "--out", tmp_path / "no" / "x.html"), "No such file"),
        ((seeded_atlas, "--format", "neuronpedia", "--out", "/proc/x"), "No such file"),
        ((seeded_atlas, "--format", "neuronpedia", "--unit", CAT, "--out", tmp_path / "x"), CAT),
    ):
        code, told, _ = say(*words, "--json")
        assert code == 2
        assert part in json.loads(told)["error"]["got"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("format", "rest"), [("html", ["--unit", CAT]), ("parquet", []), ("neuronpedia", [])])
def test_a_file_system_without_room_is_left_as_it_was(seeded_atlas, tmp_path, format, rest):
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet and the dev group")
    words = ["atlas", "export", seeded_atlas, "--format", format, "--out", tmp_path / "out", *rest]
    done = subprocess.run(
        [sys.executable, "-m", "patchclamp", *map(str, words)], capture_output=True, text=True, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected to write" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
