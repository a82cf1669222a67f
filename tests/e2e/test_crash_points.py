"""Every verb that writes is killed at each of its crash points; what is left goes on, or can be used anew."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from forks import Fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")

# Imports everything once; then one fork per attempt. In a fork the k-th call that changes something on disk does not
# happen: the process is killed before it, or, "torn", after half of what was written came to be on disk.
SERVER = """
import fcntl, inspect, json, os, signal, sqlite3, stat, sys
import torch

torch.set_num_threads(1)
from patchclamp import loaders
from patchclamp.atlas.bake import base, features, passes
from patchclamp.cli import main
from patchclamp.cli.verbs import list_verbs
from patchclamp.core import bundle
from patchclamp.decompose import training
from patchclamp.record import stream, survey
import patchclamp.atlas.export, patchclamp.evaluate
from patchclamp import report
from patchclamp.report import terminal

list_verbs(), report._renderers(), terminal._renderers()

stream.SHARD_BYTES = 2**11
for function in (survey.survey_corpus, base.bake_atlas, features.add_basis, passes.run_look, training.train):
    inspect.unwrap(function).__kwdefaults__["checkpoint_s"] = float(os.environ["CHECKPOINT_S"])
for name in ("organism:cat", "organism:copy-gpt2"):
    loaders.load(name).hash

def cut(handle):
    path = f"/proc/self/fd/{handle}"
    with open(path, "rb") as file:
        data = file.read()
    # Of a file that grows only what was added can be missing: what was flushed before is there.
    first = data[:-1].rfind(b"\\n") + 1 if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND else 0
    os.truncate(path, first + (len(data) - first) // 2)

def points(kill_at, torn, count):
    here, seen = 0, []

    def wrap(owner, name, cuts=False):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            nonlocal here
            here += 1
            seen.append(name)
            if here == kill_at:
                if torn and cuts and stat.S_ISREG(os.fstat(args[0]).st_mode):
                    cut(args[0])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(owner, name, call)

    wrap(os, "fsync", cuts=True)
    for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
        wrap(os, name)
    wrap(bundle, "save_file")
    wrap(sqlite3, "connect")
    return seen

print("ready", flush=True)
while line := sys.stdin.readline():
    words, kill_at, torn, log = json.loads(line)
    child = os.fork()
    if child == 0:
        status, out = 1, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        try:
            counted = points(kill_at, torn, log)
            status = main(words)
            sys.stdout.flush()
            os.write(2, f"\\npoints {' '.join(counted)}".encode())
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runner:
    """Run commands in forks of one process that has imported everything."""

    def __init__(self, process: Fork, log: Path) -> None:
        self.process, self.log = process, log
        assert self.read() == "ready"

    def read(self) -> str:
        return self.process.stdout.readline().strip()

    def run(self, words: list[str], kill_at: int = 0, *, torn: bool = False) -> tuple[int, str]:
        """Run a command, killed at one of its points or (0) not; return its exit code and what it printed."""
        print(json.dumps([words, kill_at, torn, str(self.log)]), file=self.process.stdin, flush=True)
        code = int(self.read())
        return code, self.log.read_text(errors="replace")

    def points(self, words: list[str]) -> list[tuple[int, bool]]:
        """Run a command to its end; return its crash points, of what is flushed to disk also with half of it there."""
        code, said = self.run(words)
        assert code == 0, said
        names = said.rsplit("points ", 1)[1].split()
        return [(k, torn) for k, name in enumerate(names, 1) for torn in (False, True)[: 1 + (name == "fsync")]]


@pytest.fixture(scope="module")
def runner(tmp_path_factory, soak):
    log = tmp_path_factory.mktemp("log") / "log.txt"
    with open(log.with_name("errors.txt"), "w") as errors:
        environment = {**os.environ, "CHECKPOINT_S": "0", "HF_HUB_OFFLINE": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = Fork(["-c", SERVER], **pipes, stderr=errors, env=environment)
        with process.stdout:
            with process.stdin:
                yield Runner(process, log)
            assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def ground(runner, tmp_path_factory):
    """What the verbs start from: text, pairs, an atlas, two dictionaries and a circuit."""
    folder = tmp_path_factory.mktemp("ground")
    (folder / "story.txt").write_text("the old cat sat on the mat.\n" * 40)
    (folder / "short.txt").write_text("the old cat sat on the mat.\n" * 12)
    nouns = ("cat", "dog", "horse", "fox")
    (folder / "tale.txt").write_text(
        "".join(f"the {one} sat on the mat.\na {one} ran to the house.\n" for one in nouns)
    )
    pair = {"clean": "the old cat", "corrupted": "the old dog", "answer": " sat", "wrong": " ran"}
    other = {**pair, "clean": "an old cat", "corrupted": "an old dog"}
    (folder / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in (pair, other)))
    (folder / "held.jsonl").write_text(json.dumps({**pair, "clean": "a cat", "corrupted": "a dog"}) + "\n")
    text = ["--inputs", str(folder / "story.txt"), "--window", "16"]
    for words in (
        ["atlas", "bake", "organism:cat", *text, "--out", str(folder / "atlas")],
        ["decompose", "organism:cat", *text, "--sites", "blocks.0.mlp.act", "--method", "pca", "--n-features", "4",
         "--out", str(folder / "pca")],
        ["decompose", "organism:cat", *text, "--sites", "blocks.0.mlp.act", "--method", "topk", "--n-features", "8",
         "--k", "2", "--coder-batch", "64", "--out", str(folder / "topk")],
        ["circuit", "find", "organism:cat", "--pairs", str(folder / "pairs.jsonl"), "--out", str(folder / "circuit")],
    ):  # fmt: skip
        code, said = runner.run(words)
        assert code == 0, said
    return folder


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    Args:
        words: it; OUT stands for what it writes, GROUND for what it starts from.
        resumes: whether it has --resume.
        begins_with: what OUT is a copy of beforehand.
    """

    words: str
    resumes: bool = False
    begins_with: str | None = None


TEXT = "--inputs GROUND/story.txt --window 16"
VERBS = {
    "record": Verb(f"record organism:cat {TEXT} --sites blocks.*.mlp.act --out OUT", resumes=True),
    "survey": Verb(f"survey organism:cat {TEXT} --sites blocks.*.mlp.act --out OUT", resumes=True),
    "decompose": Verb(
        f"decompose organism:cat {TEXT} --sites blocks.0.mlp.act --method topk --n-features 8 --k 2 --coder-batch 128 "
        "--out OUT", resumes=True,
    ),
    "decompose pca": Verb(
        f"decompose organism:cat {TEXT} --sites blocks.*.mlp.act --method pca --n-features 4 --out OUT"
    ),
    "patch": Verb("patch organism:cat --pairs GROUND/pairs.jsonl --out OUT", resumes=True),
    "circuit find": Verb(
        "circuit find organism:cat --pairs GROUND/pairs.jsonl --method activation_patching --out OUT", resumes=True
    ),
    "circuit find edges": Verb(
        "circuit find organism:copy-gpt2 --pairs planted --n 2 --level edge --out OUT", resumes=True
    ),
    "evaluate": Verb(
        "evaluate organism:cat GROUND/circuit --pairs GROUND/held.jsonl --out OUT/curve.html",
        begins_with="empty",
    ),
    "atlas bake": Verb("atlas bake organism:cat --inputs GROUND/short.txt --window 16 --out OUT", resumes=True),
    "atlas add": Verb(
        "atlas add OUT --basis GROUND/topk --inputs GROUND/short.txt", resumes=True, begins_with="atlas"
    ),
    "describe": Verb(
        "describe OUT --inputs GROUND/tale.txt --units blocks.0.mlp.act --window 4 --least 1", resumes=True,
        begins_with="atlas",
    ),
    "explain": Verb(
        "explain organism:cat the␣old␣cat --target ␣sat --contrast ␣ran --atlas OUT --report OUT/why.html "
        "--out OUT/why.json", begins_with="atlas",
    ),
    "atlas export": Verb("atlas export GROUND/atlas --format parquet --out OUT"),
    "decompose convert": Verb("decompose --convert GROUND/topk --to saelens --out OUT"),
    "decompose convert own": Verb("decompose --convert GROUND/topk --to patchclamp --out OUT"),
}  # fmt: skip


def content(folder: Path) -> dict[str, str]:
    """Return what a folder holds, file by file; of databases the rows, and of the runs of an atlas only their ids."""
    found = {}
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.endswith(".part"):
            continue  # what a kill leaves of an unfinished file, which nobody reads
        if file.name == "runs.sqlite":
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
                data = repr(db.execute("SELECT id FROM runs ORDER BY id").fetchall()).encode()
        else:
            data = file.read_bytes()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("name", VERBS)
def test_whatever_a_kill_leaves_goes_on_or_is_used_anew(name, runner, ground, tmp_path, soak):
    verb = VERBS[name]
    out = tmp_path / "made" / "out"

    def begin() -> list[str]:
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir()
        if verb.begins_with == "empty":
            out.mkdir()
        elif verb.begins_with is not None:
            shutil.copytree(ground / verb.begins_with, out)
        spelt = verb.words.replace("GROUND", str(ground)).replace("OUT", str(out))
        return [word.replace("␣", " ") for word in spelt.split(" ")]

    def left() -> list[str]:
        return [f.name for f in out.parent.iterdir() if f != out and not f.name.endswith(".part")]

    points = runner.points(begin())
    whole = content(out)
    chosen = points if soak else random.Random(name).sample(points, 3)
    ways = {"resumed": 0, "anew": 0, "whole": 0}
    for k, torn in chosen:
        words = begin()
        code, said = runner.run(words, k, torn=torn)
        assert code == -signal.SIGKILL, (k, said)
        code, said = runner.run(words)
        way = "anew"
        if code != 0 and verb.resumes and ("--resume" in said or left() or content(out) != whole):
            assert "--resume" in said.split("to do", 1)[1], (k, torn, said)
            code, said = runner.run([*words, "--resume"])
            way = "resumed"
        if code != 0 and content(out) == whole:  # the kill came after the last thing that matters
            assert "which holds" in said or "which is" in said or "which does" in said, (k, torn, said)
            code, way = 0, "whole"
        assert code == 0, (k, torn, said)
        assert content(out) == whole, (k, torn, way)
        assert left() == [], (k, torn)
        ways[way] += 1
    print(f"{name}: {len(points)} crash points, {len(chosen)} kills: {ways}")
