"""Recording and survey are killed with SIGKILL at random moments, go on, and end with the same bytes."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from forks import Fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")

# Imports everything and loads the model once; then one fork per attempt, so that a kill costs no import.
SERVER = """
import json, os, sys
import torch

import patchclamp as pc
from patchclamp.record import stream

torch.set_num_threads(1)
stream.SHARD_BYTES = 2**17
model = pc.load(sys.argv[1])
model.hash, model.site("embed")
from patchclamp.record import record_corpus, survey_corpus
verbs = {"record": record_corpus, "survey": survey_corpus}
print("ready", flush=True)
while line := sys.stdin.readline():
    verb, options = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            verbs[verb](model, pc.Corpus(**options.pop("corpus")), **options)
            status = 0
        except pc.PatchclampError as problem:
            print(problem, file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    print(child, flush=True)
    sys.stdin.readline()  # until then its number is its own, even when it has ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runner:
    """Run attempts in forks of one process that holds the model."""

    def __init__(self, process: Fork) -> None:
        self.process = process
        assert self.read() == "ready"

    def read(self) -> str:
        return self.process.stdout.readline().strip()

    def attempt(self, verb: str, kill_after_s: float | None = None, committed: Path | None = None, **options) -> int:
        """Run one attempt, killed after a while or left alone; return its exit code, −9 where it was killed.

        Args:
            verb: what is run.
            kill_after_s: when it is killed.
            committed: the while begins when this file is there.
            options: of the verb.
        """
        print(json.dumps([verb, options]), file=self.process.stdin, flush=True)
        child = int(self.read())
        if kill_after_s is not None:
            until = time.monotonic() + 60
            while committed is not None and not committed.exists() and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        print("collect", file=self.process.stdin, flush=True)
        return int(self.read())


@contextmanager
def server(model: Path):
    process = Fork(["-c", SERVER, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Runner(process)
    finally:
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def runner(stories):
    with server(stories) as running:
        yield running


def fingerprint(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("verb", ["record", "survey"])
def test_a_killed_run_resumes_to_the_same_bytes(verb, runner, stories, shared, tmp_path, soak):
    options = {
        "corpus": {
            "source": str(shared / "data" / "text" / "wikitext-2" / "valid.txt"),
            "window": 32,
            "max_tokens": 2000 if soak else 800,
        },
        "sites": "blocks.*.mlp.act",
        "batch_size": 2,
    }
    if verb == "survey":
        options["checkpoint_s"] = 0.02
    assert runner.attempt(verb, out=str(tmp_path / "warm"), **options) == 0
    begun = time.monotonic()
    assert runner.attempt(verb, out=str(tmp_path / "whole"), **options) == 0
    duration = time.monotonic() - begun
    whole = fingerprint(tmp_path / "whole")
    assert fingerprint(tmp_path / "warm") == whole

    draw, most = random.Random(verb), 100 if soak else 8
    kills = identical = resumed = 0
    while kills < most:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        left = -9
        while left == -9 and kills < most:
            # Every second kill comes after something was committed, however busy the machine is.
            after, journal = (0.3, out / "journal.jsonl") if kills % 2 else (0.9, None)
            after *= draw.uniform(0, duration)
            left = runner.attempt(verb, after, journal, out=str(out), resume=True, **options)
            kills += left == -9
            resumed += left == -9 and (out / "journal.jsonl").exists()
        if left == -9:
            left = runner.attempt(verb, out=str(out), resume=True, **options)
        assert left == 0
        assert fingerprint(out) == whole
        identical += 1
    assert resumed > kills / 4, "most kills should come after something was committed"
    print(f"{verb}: {kills} kills, {resumed} after a commit, {identical} folders identical, {duration:.2f} s unbroken")
