"""What runs apart: a coroutine in a thread of its own, since a browser of another test may keep its loop; a server."""

import asyncio
import signal
import subprocess
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from forks import Fork


def run_apart(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread of its own and return what it gives."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@contextmanager
def serving(*words):
    """Run `atlas serve` as a process of its own and give it with its address."""
    command = ["-m", "patchclamp", "atlas", "serve", *words]
    process = Fork(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        code, complaint = process.wait(timeout=60), process.stderr.read()
        process.stderr.close()
        assert code == 0, complaint
        assert "Traceback" not in complaint
