"""The atlas from the command line: bake, explain into it, serve; killed bakes, a full disk, a port that is taken."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import contextmanager
from dataclasses import asdict

import httpx
import numpy as np
import pytest

import patchclamp as pc
from apart import serving
from forks import Fork
from patchclamp.atlas.store import sqlite_files
from patchclamp.atlas.store.sqlite_files import BASE, staging_path

STORY = "the old cat sat on the mat.\nthe young dog ran to the park.\n" * 40
ANSWER = ("the old cat", "--target", " sat", "--contrast", " ran", "--top", "4")


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return path


def test_bake_info_and_explain(say, story, tmp_path):
    out = tmp_path / "cat.atlas"
    code, told, err = say("atlas", "bake", "organism:cat", "--inputs", story, "--out", out)
    assert (code, told["n_units"]) == (0, 40)
    assert "40 units of 4 sites" in err
    assert told == say("atlas", "info", out)[1] == asdict(pc.atlas.open(out).page())
    assert told["subject"]["name"] == "organism:cat"
    assert told["baked"].startswith("patchclamp atlas bake organism:cat --inputs ")
    code, answer, err = say("explain", "organism:cat", *ANSWER, "--atlas", out)
    atlas = pc.atlas.open(out)
    [layer] = atlas.page().layers
    assert code == 0
    assert layer.id in err
    graph = atlas.graph(layer.id)
    assert (graph.graph.prompt, graph.graph.target) == ("the old cat", " sat")
    measured = {node.key: node.measured for node in graph.nodes if node.kind not in ("input", "error", "output")}
    told = {cause["key"]: cause["measured"] for cause in (*answer["causes"], *answer["opposing"])}
    assert measured == pytest.approx(told, rel=1e-5)
    [row] = atlas.unit("blocks.0.mlp.act/neurons/7").graphs
    assert row.measured == pytest.approx(8.0, abs=0.01)
    run = atlas.run(layer.id)
    assert run.run.command.startswith("patchclamp explain organism:cat 'the old cat'")
    assert run.run.began is not None
    assert atlas.run(atlas.page().source.run).hashes["base"] == atlas.page().base


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("atlas", "info", "nowhere"), "not there"),
        (("atlas", "serve", "nowhere"), "not there"),
        (("atlas", "bake", "organism:cat", "--inputs", "nowhere.txt", "--out", "x.atlas"), "not there"),
        (("explain", "organism:cat", *ANSWER, "--atlas", "nowhere"), "not there"),
        (("atlas", "bake", "organism:cat", "--inputs", "text.txt", "--out", "x.atlas", "--sites", "x.*"), "x.*"),
    ],
)
def test_trouble_has_three_parts(say, tmp_path, monkeypatch, words, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the old cat")
    code, told, err = say(*words)
    assert code == 2
    assert "of memory" not in err
    assert word in told["error"]["got"]


def test_an_explanation_of_another_model_is_refused_before_it_is_made(say, seeded_atlas):
    code, told, _ = say(
        "explain", "organism:mover-gpt2", "When Mary and John", "--target", " Mary", "--atlas", seeded_atlas
    )
    assert code == 2
    assert "other weights" in told["error"]["got"]


def test_a_folder_that_exists_is_left_alone(say, story, tmp_path):
    (tmp_path / "mine").mkdir()
    code, told, _ = say("atlas", "bake", "organism:cat", "--inputs", story, "--out", tmp_path / "mine")
    assert code == 2
    assert "--out" in told["error"]["remedy"]


# -- serving ----------------------------------------------------------------------------------------------------------


def test_two_servers_on_one_port(say, seeded_atlas):
    with serving(seeded_atlas) as (_, address):
        assert address.startswith("http://127.0.0.1:")
        port = address.rstrip("/").rsplit(":", 1)[1]
        code, told, _ = say("atlas", "serve", seeded_atlas, "--port", port)
        assert code == 2
        assert "another server holds" in told["error"]["got"]
        page = httpx.get(address + "api/atlas").json()
        assert page == asdict(pc.atlas.open(seeded_atlas).page())
        assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 421
        assert "<!doctype html>" in httpx.get(address + "units/cat/blocks.0.mlp.act/neurons/7").text
        assert httpx.head(address + "api/atlas").status_code == 200


def test_a_model_beside_the_atlas_tries_texts(seeded_atlas):
    with serving(seeded_atlas, "--model", "organism:cat") as (_, address):
        found = httpx.get(address + "api/units/blocks.0.mlp.act/neurons/7/trial", params={"text": "the cat dog"}).json()
    marked = dict(zip(found["tokens"], found["acts"], strict=True))
    assert marked == pytest.approx({"<bos>": 0.0, " the": 0.0, " cat": 3.0, " dog": 0.0}, abs=1e-4)


def test_another_model_beside_the_atlas_is_refused(say, seeded_atlas):
    code, told, _ = say("atlas", "serve", seeded_atlas, "--model", "organism:mover-gpt2")
    assert code == 2
    assert "an atlas of " in told["error"]["expected"]
    assert told["error"]["got"].startswith("one of cat (")


# -- interruptions ----------------------------------------------------------------------------------------------------

# Imports everything and loads the model once; then one fork per attempt, so that a kill costs no import.
FORKS = """
import json, os, sys
import torch

import patchclamp as pc
from patchclamp.atlas import bake_atlas

torch.set_num_threads(1)
model = pc.load("organism:cat")
model.hash
print("ready", flush=True)
while line := sys.stdin.readline():
    options = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            bake_atlas(model, pc.Corpus(**options.pop("corpus")), **options)
            status = 0
        except pc.PatchclampError as problem:
            print(problem, file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    print(child, flush=True)
    sys.stdin.readline()  # until then its number is its own, even when it has ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def forks():
    process = Fork(["-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read():
        return process.stdout.readline().strip()

    def attempt(kill_after_s=None, committed=None, **options):
        print(json.dumps(options), file=process.stdin, flush=True)
        child = int(read())
        if kill_after_s is not None:
            until = time.monotonic() + 60
            while committed is not None and not committed.exists() and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        print("collect", file=process.stdin, flush=True)
        return int(read())

    try:
        assert read() == "ready"
        yield attempt
    finally:
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
def test_a_killed_bake_resumes_to_the_same_content(story, tmp_path, soak):
    options = {"corpus": {"source": str(story), "window": 16}, "batch_size": 2, "checkpoint_s": 0.02}
    with forks() as attempt:
        assert attempt(out=str(tmp_path / "warm"), **options) == 0
        begun = time.monotonic()
        assert attempt(out=str(tmp_path / "whole"), **options) == 0
        duration = time.monotonic() - begun
        whole = pc.atlas.open(tmp_path / "whole").page().base
        draw, most = random.Random(0), 50 if soak else 6
        kills = resumed = identical = 0
        while kills < most:
            out = tmp_path / "out"
            shutil.rmtree(out, ignore_errors=True)
            left = -9
            while left == -9:
                # Every second kill comes after something was committed, however busy the machine is.
                journal = staging_path(out) / "survey" / "journal.jsonl"
                after = draw.uniform(0, duration * (0.3 if kills % 2 else 1)) if kills < most else None
                left = attempt(after, journal if kills % 2 else None, out=str(out), resume=True, **options)
                kills += left == -9
                resumed += left == -9 and journal.exists()
            assert left == 0
            assert pc.atlas.open(out).page().base == whole
            assert not staging_path(out).exists()
            identical += 1
    assert resumed > kills / 4, "most kills should come after something was committed"
    print(f"{kills} kills, {resumed} after a commit, {identical} atlases identical, {duration:.2f} s unbroken")


def test_an_interrupted_bake_is_named(say, story, tmp_path):
    out = tmp_path / "cat.atlas"
    staging_path(out).mkdir()
    (staging_path(out) / "text.txt").write_text("x")
    code, told, _ = say("atlas", "bake", "organism:cat", "--inputs", story, "--out", out)
    assert code == 2
    assert "--resume" in told["error"]["remedy"]
    code, told, _ = say("atlas", "info", out)
    assert code == 2
    assert "--resume" in told["error"]["remedy"]
    code, first, _ = say("atlas", "bake", "organism:cat", "--inputs", story, "--out", out, "--resume")
    assert code == 0
    code, again, _ = say("atlas", "bake", "organism:cat", "--inputs", story, "--out", out, "--resume")
    assert (code, again["base"]) == (0, first["base"])


class _Full(sqlite3.Connection):
    """A database on a disk that fills up after some rows."""

    left = 40

    def executemany(self, *args):
        _Full.left -= 1
        if _Full.left < 0:
            raise sqlite3.OperationalError("database or disk is full")
        return super().executemany(*args)


@pytest.mark.parametrize("room", [0, 1, 5, 9])
def test_a_full_disk_is_told_and_survived(say, story, tmp_path, monkeypatch, room):
    out = tmp_path / "cat.atlas"
    words = ("atlas", "bake", "organism:cat", "--inputs", story, "--out", out)
    with monkeypatch.context() as patched:
        patched.setattr(_Full, "left", room)
        connect = sqlite3.connect
        patched.setattr(sqlite_files.sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "factory": _Full}))
        code, told, _ = say(*words)
        assert code == 2
        assert told["error"]["got"] == "a full disk"
        assert "--resume" in told["error"]["remedy"]
        assert not out.exists()
        assert not list(staging_path(out).rglob("*.part"))
    code, told, _ = say(*words, "--resume")
    assert (code, told["n_units"]) == (0, 40)


# -- a model that learnt ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_neuron_of_a_story_model_has_examples_that_hold(stories, shared, tmp_path):
    model = pc.load(stories)
    out, text = tmp_path / "stories.atlas", shared / "data" / "text" / "tinyshakespeare.txt"
    pc.atlas.bake_atlas(model, pc.Corpus(text, max_tokens=6000), out)
    atlas = pc.atlas.open(out)
    assert atlas.page().n_units == 900
    counts = [{c.kind: c.n for c in atlas.unit(str(atlas.reading.key(u))).examples} for u in range(0, 860, 10)]
    assert all(c["top"] == 16 and c["quantile"] == 10 and c["random"] == 8 and c["interval"] >= 2 for c in counts)
    draw = random.Random(0)
    for _ in range(20):
        key = atlas.reading.key(draw.randrange(860))
        kind = draw.choice(["top", "quantile", "random"])
        one = draw.choice(atlas.examples(str(key), kind).examples)
        [(ids,)] = atlas.reading.rows("SELECT ids FROM contexts WHERE stimulus = ?", [one.stimulus])
        fresh = model.run(np.frombuffer(ids, "<i4").astype(np.int64), record=key.site, logits=False).recording
        value = float(np.asarray(fresh[key.site])[one.position, key.index])
        assert one.value == pytest.approx(value, rel=1e-3, abs=1e-6)


def test_a_damaged_base_is_refused_at_the_door(say, seeded_atlas, tmp_path):
    copy = tmp_path / "copy.atlas"
    shutil.copytree(seeded_atlas, copy)
    (copy / BASE).chmod(0o644)
    with (copy / BASE).open("ab") as file:
        file.write(b"x")
    for verb in ("serve", "info"):
        code, told, _ = say("atlas", verb, copy)
        assert code == 2
        assert "bake it again" in told["error"]["remedy"]


def test_a_finished_atlas_is_not_resumed_with_another_text(say, seeded_atlas, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the old dog")
    code, told, _ = say("atlas", "bake", "organism:cat", "--inputs", other, "--out", seeded_atlas, "--resume")
    assert code == 2
    assert told["error"]["expected"] == "the model and the text of this atlas"


def test_info_shows_an_atlas_as_atlas_info_does(say, seeded_atlas):
    code, told, _ = say("info", seeded_atlas)
    assert (code, told) == say("atlas", "info", seeded_atlas)[:2]
