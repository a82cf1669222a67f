"""What is said and left when a command cannot finish, what it says to cost, and links that somebody put in its way."""

import json
import sqlite3
from argparse import Namespace

import pytest

import patchclamp as pc
from patchclamp.atlas.bake.base import bake_atlas
from patchclamp.atlas.store.provenance import RUNS, Run, write_run
from patchclamp.atlas.store.sqlite_files import write_database
from patchclamp.cli import main
from patchclamp.cli.verbs import build_parser, find_verb
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose import Job, Recipe, TextSource, TopKConfig, train
from patchclamp.decompose.recipe import disk_bytes

PAIR = {"clean": "the old cat", "corrupted": "the old dog", "answer": " sat", "wrong": " ran"}


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [
        ("record organism:cat --inputs t --sites embed --out o", True),
        ("survey organism:cat --inputs t --sites embed --out o", True),
        ("patch organism:cat --pairs planted --out o", True),
        ("circuit find organism:cat --pairs planted --out o", True),
        ("atlas bake organism:cat --inputs t --out o", True),
        ("atlas add a --basis b", True),
        ("decompose organism:cat --inputs t --sites embed --method topk --out o", True),
        ("decompose organism:cat --inputs t --sites embed --method pca --out o", False),
        ("evaluate organism:cat c --pairs planted --out o.json", False),
        ("explain organism:cat the --target cat", False),
        ("atlas export a --format parquet --out o", False),
        ("decompose --convert b --to saelens --out o", False),
    ],
)
def test_ctrl_c_advises_resume_where_there_is_one(words, goes_on, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_text("the old cat")

    def interrupted(_options: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(find_verb(build_parser().parse_args(words.split()).verb), "run", interrupted)
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert "Ctrl-C" in told
    assert ("--resume" in told) is goes_on


@pytest.mark.parametrize("name", ["manifest.json.part", "journal.jsonl.part"])
@pytest.mark.parametrize("verb", ["patch", "circuit find"])
def test_a_folder_with_nothing_but_an_unfinished_file_is_used(verb, name, say, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / name).symlink_to(victim)
    words = [*verb.split(), "organism:cat", "--pairs", tmp_path / "pairs.jsonl", "--out", tmp_path / "o"]
    code, told, _ = say(*words)
    assert code == 0, told
    assert victim.read_text() == "precious"
    assert say("info", tmp_path / "o")[0] == 0
    assert not (tmp_path / "o" / name).is_symlink() or name == "journal.jsonl.part"
    # A whole folder is shown again, with other options it is refused.
    assert say(*words)[0] == 2
    assert say(*words, "--resume")[0] == 0
    (tmp_path / "pairs.jsonl").write_text(json.dumps({**PAIR, "clean": "an old cat", "corrupted": "an old dog"}) + "\n")
    code, told, _ = say(*words, "--resume")
    assert code == 2
    assert "--out" in told["error"]["remedy"]


@pytest.mark.parametrize("n", [1, 40])
def test_patch_states_about_what_it_takes_on_disk(cat, n, tmp_path):
    from patchclamp.attribute.patching import plan_patching
    from patchclamp.attribute.patching_folder import patch_to_folder
    from patchclamp.core.task import Case, Task
    from patchclamp.report import draw

    pairs = cat.read(
        Task(tuple(Case("the old cat", "the old dog", (" sat",), (" ran",), group=str(i)) for i in range(n)))
    )
    job = plan_patching(cat, pairs, "resid,neuron")
    patch_to_folder(job, tmp_path / "o", page=lambda found: draw(found, command="patchclamp patch"))
    taken = sum(file.stat().st_size for file in (tmp_path / "o").iterdir())
    assert 0.5 < job.disk_bytes / taken < 2


def test_a_training_states_its_two_states_and_refuses_a_disk_without_room(cat, story, tmp_path, monkeypatch):
    source, site = TextSource(cat, pc.Corpus(story, window=16)), "blocks.0.mlp.act"
    jobs, recipe = [Job(site, site, TopKConfig(512, k=2))], Recipe(batch_size=32)
    train(source, jobs, recipe, out=tmp_path / "o")
    state = sum(file.stat().st_size for file in (tmp_path / "o" / "training").glob("*.safetensors"))
    assert disk_bytes(source, jobs) == pytest.approx(2 * state, rel=0.2)
    monkeypatch.setattr("patchclamp.train.needs.free_bytes", lambda _: disk_bytes(source, jobs) - 1)
    with pytest.raises(PatchclampError, match="two states of the training"):
        train(source, jobs, recipe, out=tmp_path / "p")


def test_databases_are_begun_anew_and_never_through_a_link(tmp_path):
    victim = tmp_path / "victim.sqlite"
    with sqlite3.connect(victim) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = victim.read_bytes()
    (tmp_path / "base.sqlite.part").symlink_to(victim)
    with write_database(tmp_path / "base.sqlite", "CREATE TABLE ours (x);") as db:
        db.execute("INSERT INTO ours VALUES (1)")
    (tmp_path / RUNS).symlink_to(victim)
    with pytest.raises(PatchclampError, match="a link"):
        write_run(tmp_path, "base-0", Run("atlas bake", "patchclamp", "a base"))
    assert victim.read_bytes() == before


def test_runs_are_shown_as_unverified(story, tmp_path, capsys):
    bake_atlas(pc.load("organism:cat"), pc.Corpus(story, window=16), tmp_path / "a")
    atlas = pc.atlas.open(tmp_path / "a")
    [row] = atlas.runs().rows
    for page in (atlas.runs(), atlas.run(row.id)):
        assert "not part of the atlas's hash" in page.unverified
    assert main(["atlas", "info", str(tmp_path / "a")]) == 0
    assert "not part of the hash" in " ".join(capsys.readouterr().out.split())
