"""Ctrl-C and closed pipes at awkward moments: three lines and the right exit code, never a traceback."""

import errno
import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest

from conftest import ROOT, SOAK
from forks import run_command
from patchclamp.cli import main, output
from patchclamp.cli.output import Outputs
from patchclamp.cli.verbs import info


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def running(monkeypatch, capsys):
    """Run a function in the place of a command; return its exit code and what stood on standard error."""

    def run(function) -> tuple[int, str]:
        monkeypatch.setattr(info, "run", function)
        code = main(["info", "--families"])
        return code, capsys.readouterr().err

    return run


def test_a_second_ctrl_c_does_not_cut_the_report_of_the_first(running, monkeypatch):
    entry = sys.modules["patchclamp.cli.main"]
    for module, name in ((entry, "as_error"), (output, "print_error")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *words, real=real: (interrupt(), real(*words))[1])
    code, err = running(lambda _: interrupt())
    assert code == 2
    assert err.count("Ctrl-C") == 1
    assert len(err.splitlines()) == 3


def test_ctrl_c_while_an_error_is_reported_leaves_that_error(running, monkeypatch):
    module = sys.modules["patchclamp.cli.main"]
    real = module.as_error
    monkeypatch.setattr(module, "as_error", lambda *words: (interrupt(), real(*words))[1])

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    code, err = running(fail)
    assert code == 2
    assert "No space left" in err


def test_ctrl_c_in_a_callback_that_cannot_raise_still_ends_the_command(running):
    class Callback:
        def __del__(self):
            interrupt()

    def work(_):
        callback = Callback()
        del callback
        for _ in range(1000):
            time.sleep(0.01)
        return 0

    code, err = running(work)
    assert code == 2
    assert "Ctrl-C" in err
    assert "Callback" not in err


def test_ctrl_c_that_a_library_turns_into_its_own_error_is_no_failed_output(running):
    ended = []

    def work(_):
        outputs = Outputs()
        with outputs.attempt("the page"):
            try:
                interrupt()
            except KeyboardInterrupt:
                raise RuntimeError("the library stopped") from None
        ended.append(True)
        return outputs.code

    code, err = running(work)
    assert (code, ended) == (2, [])
    assert "Ctrl-C" in err
    assert "defect" not in err


def test_the_handler_of_before_comes_back(running):
    before = signal.getsignal(signal.SIGINT)
    running(lambda _: interrupt())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_pipe_that_broke_elsewhere_is_an_error(running):
    def work(_):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    code, err = running(work)
    assert code == 2
    assert "Broken pipe" in err


def run(*words, **streams):
    return subprocess.run([sys.executable, "-m", "patchclamp", *words], text=True, check=False, **streams)


@pytest.fixture
def unread():
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_a_reader_of_standard_error_that_left_does_not_end_the_work(unread, tmp_path):
    (tmp_path / "story.txt").write_text("the old cat sat on the mat.\n" * 9)
    words = ["--inputs", str(tmp_path / "story.txt"), "--sites", "blocks.0.mlp.act", "--out", str(tmp_path / "r")]
    done = run_command("record", "organism:cat", *words, "--json", stderr=unread)
    assert done.returncode == 0
    assert '"whole": true' in done.stdout


def test_a_reader_of_standard_output_that_left_is_no_error(unread):
    done = run("info", "--families", stdout=unread, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_document_that_cannot_be_written_is_told_on_standard_error():
    with open("/dev/full", "w") as full:
        done = run("info", "--families", "--json", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert "No space left" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_help_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        done = run("record", "--help", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.count("No space left") == 1


def test_ctrl_c_that_a_background_job_ignores_stays_ignored(running):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert running(lambda _: interrupt() or 0) == (0, "")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP] if SOAK else [signal.SIGTERM])
def test_a_recording_that_a_signal_ends_is_resumed(number, tmp_path):
    (tmp_path / "story.txt").write_text("the old cat sat on the mat.\n" * 40_000)
    words = ["record", "organism:cat", "--inputs", str(tmp_path / "story.txt"), "--sites", "blocks.0.mlp.act"]
    words += ["--max-tokens", "20000", "--window", "16", "--out", str(tmp_path / "r")]
    command = [sys.executable, "-m", "patchclamp", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as begun:
        while not (tmp_path / "r" / "manifest.json").exists() and begun.poll() is None:
            time.sleep(0.01)
        begun.send_signal(number)
        _, err = begun.communicate()
    assert begun.returncode == -number
    assert "Traceback" not in err
    assert main([*words, "--resume"]) == 0


def test_the_installed_command_ends_silently_where_ctrl_c_comes_before_it_hears_it():
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["patchclamp"]
    module, _, name = entry.partition(":")
    stop = "import os, signal, sys; sys.argv = ['patchclamp', '--version']\n"
    stop += "sys.addaudithook(lambda event, what: event == 'import' and what[0] == 'patchclamp.cli.verbs' "
    stop += "and os.kill(os.getpid(), signal.SIGINT))\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{stop}from {module} import {name}\nsys.exit({name}())"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
