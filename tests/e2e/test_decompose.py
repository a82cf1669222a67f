"""patchclamp decompose, end to end: what it writes, what it refuses, and that no kill changes it."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import patchclamp as pc
from forks import Fork, run_command
from patchclamp.cli import main
from patchclamp.core.dictionary import Dictionary
from patchclamp.report.terminal.dictionary import sparkline
from patchclamp.subjects.bases import encode

SITE = "blocks.1.mlp.act"
SMALL = ("--coder-batch", "64", "--n-features", "24")


@pytest.fixture
def say(say):
    """Ask `patchclamp decompose`."""
    return partial(say, "decompose")


def test_one_sentence_comes_first_and_full_prints_the_rest(say, story, tmp_path):
    words = ("organism:cat", "--sites", SITE, "--inputs", story, "--method", "pca", "--n-features", 8)
    code, out, _ = say(*words, "--out", tmp_path / "a", json_too=False)
    lines = out.splitlines()
    assert code == 0
    assert re.match(
        r"8 features explain (\d+|9\d\.\d)% of the variance of Block 1 · MLP neurons, [\d.]+ of them", lines[0]
    )
    assert "loss over time" not in out
    code, out, _ = say(*words, "--out", tmp_path / "b", "--full", json_too=False)
    assert out.splitlines()[0] == lines[0]
    assert "loss over time" in out


@pytest.mark.parametrize("method", ["topk", "batchtopk", "jumprelu", "l1", "snmf", "nmf", "pca", "random"])
def test_every_method_leaves_a_dictionary_that_reads_the_model(say, cat, story, tmp_path, method):
    if method == "nmf":
        pytest.importorskip("sklearn", reason="NMF is scikit-learn's")
        with torch.no_grad():
            lowest = cat.run(story.read_text()[:100], record=SITE, logits=False).recording[SITE].min()
        assert lowest >= 0, "NMF needs a site that is never negative"
    words = ["--k", "4"] if method in ("topk", "batchtopk", "random") else []
    words += ["--coder-batch", "64"] if method in ("topk", "batchtopk", "jumprelu", "l1") else []
    n = 8 if method == "pca" else 24
    code, told, err = say(
        "organism:cat", "--sites", SITE, "--inputs", story, "--method", method, "--out", tmp_path / "d",
        "--n-features", n, *words,
    )  # fmt: skip
    assert code == 0
    assert "of memory" in err
    found = Dictionary.load(tmp_path / "d")
    basis = found.bases[SITE]
    assert (told["method"], told["name"], found.method) == (method, f"{method}-{n}", method)
    assert (basis.n_units, told["bases"][0]["units"]) == (n, n)
    assert found.subject == {"slug": "cat", "hash": cat.hash}
    values = cat.run("the old cat sat", record=SITE, logits=False).recording[SITE]
    assert encode(basis, values).isfinite().all()
    assert 0 <= told["bases"][0]["unexplained"] < 2


def test_transcoders_of_every_block_and_their_table(say, story, tmp_path):
    code, out, _ = say(
        "organism:cat", "--transcode", "*", "--inputs", story, "--skip-connection", "--out", tmp_path / "t", "--k", 3,
        *SMALL, "--name", "skipped", json_too=False,
    )  # fmt: skip
    assert code == 0
    found = Dictionary.load(tmp_path / "t")
    assert found.name == "skipped"
    assert list(found.bases) == ["blocks.0.mlp.write", "blocks.1.mlp.write"]
    for site, basis in found.bases.items():
        assert basis.skip is not None
        assert f"{site} is written from {basis.reads}" in out
    last = found.curves["blocks.0.mlp.write"]["unexplained"][-1][1]
    assert f"{last:.3g}" in out


def test_a_subprocess_says_what_the_process_says(cat, story, tmp_path):
    words = ["decompose", "organism:cat", "--sites", SITE, "--inputs", str(story), "--k", "4", *SMALL]
    done = run_command(*words, "--out", tmp_path / "a", "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    a, b = (Dictionary.load(tmp_path / name).bases[SITE] for name in "ab")
    assert a.hash == b.hash
    assert json.loads(done.stdout)["bases"][0]["units"] == 24


def test_a_whole_training_is_not_begun_again(say, story, tmp_path):
    words = ("organism:cat", "--sites", SITE, "--inputs", story, "--k", 4, *SMALL, "--out", tmp_path / "d")
    assert say(*words)[0] == 0
    before = (tmp_path / "d" / "basis.json").read_bytes()
    assert say(*words)[0] == 2
    assert say(*words, "--resume")[0] == 0
    assert (tmp_path / "d" / "basis.json").read_bytes() == before
    code, told, _ = say(*words, "--resume", "--seed", 1)
    assert code == 2
    assert "plan.recipe.seed: 0 then, 1 now" in told["error"]["got"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--sites", SITE, "--k", "25", *SMALL), "k from 1 to 24"),
        (("--sites", "blocks.9.mlp.act", *SMALL), "blocks.9.mlp.act"),
        (("--sites", "blocks.0.attn.pattern", *SMALL), "attn.pattern"),
        (("--transcode", "7", *SMALL), "--transcode 7"),
        (("--transcode", "x", *SMALL), "'x'"),
        (("--sites", SITE, "--skip-connection", *SMALL), "--skip-connection with --transcode"),
        (("--sites", SITE, "--method", "l1", "--k", "3", *SMALL), "--k with --method"),
        (("--sites", SITE, "--method", "pca", "--resume"), "--resume with --method"),
        (("--transcode", "1", "--method", "pca"), "--transcode with --method"),
        (("--sites", SITE, "--method", "pca", *SMALL), "--coder-batch with --method"),
        (("--sites", SITE, "--n-features", "0"), "at least 1 feature"),
        (("--sites", SITE, "--coder-batch", "100000"), "at least one batch"),
        (("--sites", SITE, "--coder-batch", "0"), "positive batch size"),
        (("--sites", SITE, "--learning-rate", "0", "--k", "3", *SMALL), "positive learning rate"),
        (("--sites", SITE, "--learning-rate", "nan", "--k", "3", *SMALL), "nan, not a number"),
        (("--sites", SITE, "--window", "0", *SMALL), "--window from 1"),
        (("--sites", SITE, "--passes", "0", "--k", "3", *SMALL), "positive number of passes"),
        ((*SMALL,), "no --sites or --transcode"),
    ],
)
def test_bad_options_have_three_parts(say, story, tmp_path, words, part):
    code, told, err = say("organism:cat", "--inputs", story, "--out", tmp_path / "d", *words)
    assert code == 2
    assert part in json.dumps(told["error"])
    assert all(told["error"].values())
    assert "Traceback" not in err


def test_bad_texts_and_folders_have_three_parts(say, story, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    words = ("organism:cat", "--sites", SITE, *SMALL)
    for text in (empty, tmp_path / "nowhere.txt"):
        assert say(*words, "--inputs", text, "--out", tmp_path / "d")[0] == 2
    assert not (tmp_path / "d").exists()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "precious").touch()
    for more in ((), ("--resume",)):
        code, told, _ = say(*words, "--inputs", story, "--out", tmp_path / "d", *more)
        assert (code, told["error"]["expected"]) == (2, "a new or empty folder")
    assert say(*words, "--inputs", story, "--out", story)[0] == 2


def test_nan_activations_are_refused_with_their_site(cat, story, tmp_path):
    from patchclamp.decompose import Job, Recipe, TextSource, TopKConfig, train

    weight = cat.module.get_submodule("transformer.h.1.mlp.c_fc").weight
    with torch.no_grad():
        before = weight.clone()
        weight[:, 3] = float("nan")
    try:
        with pytest.raises(pc.PatchclampError, match=f"at {SITE}, units 3"):
            train(TextSource(cat, story), [Job(SITE, SITE, TopKConfig(24, k=4))], Recipe(batch_size=64))
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_sparklines():
    assert sparkline([]) == ""
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline(list(np.linspace(1, 0, 100)))[0] == "█"
    assert len(sparkline(np.arange(1000.0).tolist())) == 24


# -- kills ------------------------------------------------------------------------------------------------------------

# Imports everything once; then one fork per attempt, so that a kill costs no import.
SERVER = """
import json, os, sys
import numpy as np
import torch

from patchclamp.decompose import ArraySource, Job, Recipe, train_dictionary
from patchclamp.decompose.sklearn_api import config_of

torch.set_num_threads(1)
x = np.random.default_rng(0).normal(size=(4000, 32)).astype(np.float32)
source = ArraySource({"x": x, "y": x[:, :16] ** 2}, chunk=300)
jobs = [Job("x", "x", config_of("topk", 128, k=4)), Job("x", "y", config_of("jumprelu", 64))]
print("ready", flush=True)
while line := sys.stdin.readline():
    child = os.fork()
    if child == 0:
        status = 1
        try:
            recipe = Recipe(batch_size=64, passes=2, buffer_bytes=2**17, dead_after=500)
            train_dictionary(source, jobs, recipe, out=line.strip(), resume=True, checkpoint_s=0.005)
            status = 0
        finally:
            os._exit(status)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def fingerprint(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, soak):
    server = Fork(["-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline().strip() == "ready"

    def attempt(out: Path, kill_after_s: float | None = None, *, committed: bool = False) -> int:
        print(out, file=server.stdin, flush=True)
        child = int(server.stdout.readline())
        if kill_after_s is not None:
            until = time.monotonic() + 60
            while committed and not (out / "training" / "journal.jsonl").exists() and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        print("collect", file=server.stdin, flush=True)
        return int(server.stdout.readline())

    begun = time.monotonic()
    assert attempt(tmp_path / "whole") == 0
    duration = time.monotonic() - begun
    whole = fingerprint(tmp_path / "whole")
    draw, most, kills, resumed = random.Random(0), 100 if soak else 8, 0, 0
    while kills < most:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        left = -9
        while left == -9 and kills < most:
            # Every second kill comes after something was committed, however busy the machine is.
            left = attempt(out, draw.uniform(0, 0.9 * duration) * (0.3 if kills % 2 else 1), committed=bool(kills % 2))
            kills += left == -9
            resumed += left == -9 and (out / "training" / "journal.jsonl").exists()
        if left == -9:
            left = attempt(out)
        assert left == 0
        assert fingerprint(out) == whole
    server.stdin.close()
    assert server.wait(timeout=60) == 0
    server.stdout.close()
    assert resumed > kills / 4, "most kills should come after something was committed"
