"""Python processes without the cost of imports: forks of one process that has imported what commands need."""

import gc
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

WAIT_S = 120
MESSAGE = 2**18


class Fork:
    """A process that begins as ``python ARGS`` does, with everything imported; it has what tests use of a Popen.

    Args:
        args: ``-m``, a module and its words, or ``-c``, code and its words.
        stdin: a file; the null device by default. ``subprocess.PIPE`` opens ``self.stdin`` to write to.
        stdout: a file; this process' own by default. ``subprocess.PIPE`` opens ``self.stdout`` to read from.
        stderr: the same of standard error.
        env: the whole environment; this process' own by default.
        cwd: the folder; this process' own by default.
    """

    def __init__(self, args: Sequence[Any], *, stdin=None, stdout=None, stderr=None, env=None, cwd=None) -> None:
        self.args, self.returncode = [str(word) for word in args], None
        self.stdin = self.stdout = self.stderr = None
        theirs, opened = [], []
        for number, (name, given) in enumerate((("stdin", stdin), ("stdout", stdout), ("stderr", stderr))):
            if given == subprocess.PIPE:
                reader, writer = os.pipe()
                own, other, mode = (writer, reader, "w") if name == "stdin" else (reader, writer, "r")
                setattr(self, name, os.fdopen(own, mode, encoding="utf-8"))
                opened.append(other)
            elif given == subprocess.DEVNULL or (given is None and name == "stdin"):
                opened.append(other := os.open(os.devnull, os.O_RDWR))
            else:
                other = number if given is None else given if isinstance(given, int) else given.fileno()
            theirs.append(other)
        asked = {"args": self.args, "env": dict(os.environ if env is None else env), "cwd": str(cwd or os.getcwd())}
        self.pid = ask(asked, theirs)
        for file in opened:
            os.close(file)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; where a signal ended it, its number with a minus."""
        if self.returncode is None:
            self.returncode = ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float = WAIT_S) -> int:
        """Wait for its end and return the exit code."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.003)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()
        self.wait()


def run(args: Sequence[Any], *, stdout=None, stderr=None, timeout=WAIT_S, **how) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGS`` to its end and return its exit code, and what it printed where no file is given for it."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        given = {"stdout": out if stdout is None else stdout, "stderr": err if stderr is None else stderr}
        code = Fork(args, **given, **how).wait(timeout)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*args], code, out.read(), err.read())


def run_command(*words: Any, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run ``patchclamp WORDS`` to its end; see ``run``."""
    return run(["-m", "patchclamp", *words], **how)


def ask(asked: dict[str, Any], files: Sequence[int] = ()) -> Any:
    """Ask the process that forks."""
    data = json.dumps(asked).encode()
    assert len(data) < MESSAGE
    socket.send_fds(_line(), [data], list(files))
    return json.loads(_line().recv(MESSAGE))


@cache
def _line() -> socket.socket:
    """Start the process that forks and return the line to it; it ends where this process does."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, __file__, str(its.fileno())]
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], start_new_session=True)
    started.returncode = 0  # nobody waits for it: it ends by itself, when this process has ended
    return mine


def _serve(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Answer until nobody asks any more; in a fork, return what it is to run."""
    import httpx  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401
    import uvicorn  # noqa: F401

    import patchclamp as pc

    # Nothing but imports remains of it.
    pc.explain(pc.load("organism:cat"), "the old cat", " sat", contrast=" ran", top=1)
    # What is there now stays: no collection in a fork touches its memory, which would copy it.
    gc.collect()
    gc.freeze()
    while True:
        data, files, _, _ = socket.recv_fds(line, MESSAGE, 3)
        if not data:
            os._exit(0)
        asked = json.loads(data)
        if "args" in asked:
            answer = os.fork()
            if answer == 0:
                line.close()
                return asked, files
            for file in files:
                os.close(file)
        else:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        line.send(json.dumps(answer).encode())


def _become(asked: dict[str, Any], files: Sequence[int]) -> None:
    """Make this process as ``python ARGS`` would begin, but for the modules that are there, and run it."""
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    encoding, unbuffered = os.environ.get("PYTHONIOENCODING", "utf-8"), bool(os.environ.get("PYTHONUNBUFFERED"))
    for name, errors in (("stdout", "strict"), ("stderr", "backslashreplace")):
        raw = os.fdopen(1 + (name == "stderr"), "wb", 0 if unbuffered else -1, closefd=False)
        late = {"line_buffering": name == "stderr", "write_through": unbuffered}
        stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors, **late)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding=encoding, closefd=False)
    how, what, *words = asked["args"]
    sys.argv = [what if how == "-m" else how, *words]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})


if __name__ == "__main__":
    # What ends the fork, and how, is Python's business as in any other process.
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))
