"""patchclamp patch, end to end: what it prints and writes, what it refuses, and that Ctrl-C costs little."""

import json
import signal
import subprocess
import time
from functools import partial

import numpy as np
import pytest

from forks import Fork
from patchclamp.cli import main
from patchclamp.core.bundle import Bundle
from patchclamp.core.scores import Scores

IOI = ("organism:language-gpt2", "--pairs", "task:ioi")


@pytest.fixture
def say(say):
    """Ask `patchclamp patch`."""
    return partial(say, "patch")


def test_the_residual_stream_of_the_name_mover_task(say, tmp_path):
    out = tmp_path / "p"
    code, told, err = say(*IOI, "--n", 12, "--sites", "resid,head", "--out", out)
    assert code == 0
    assert "12 pairs" in err
    assert "of memory" in err
    options, extra = told["provenance"]["options"], told["provenance"]["extra"]
    assert (told["unit"], told["n_cases"], extra["aligned"]) == ("share of m restored", 12, "end")
    assert (options["direction"], options["positions"]) == ("denoise", told["places"])
    assert told["run"] + told["agree"] == sum(cell["n"] for cell in told["scores"])
    assert told["run"] == sum(cell["run"] for cell in told["scores"])
    cells = {cell["key"]: cell for cell in told["scores"]}
    last = cells["blocks.3.resid_out/whole/0@-1"]
    assert last["score"] == pytest.approx(1.0, abs=1e-4)
    assert last["low"] <= last["score"] <= last["high"]
    head = cells["blocks.0.attn.z/heads/1@-1"]
    assert head["score"] > 0.5
    assert head["low"] > 0.3
    assert head["p"] == pytest.approx(told["least_p"], rel=5)
    found = Scores.load(out)
    assert found.to_json(20_000)["scores"] == told["scores"]
    values = found.per_case[:, found.index.place("blocks.0.attn.z/heads/1@-1")]
    assert float(np.mean(values)) == pytest.approx(head["score"])
    page = (out / "patching.html").read_text()
    assert "blocks.0.attn.z/heads/1 at -1: +0." in page
    assert "<script" not in page
    assert "--sites resid,head" in page
    assert json.loads((out / "patching.json").read_text())["n_cases"] == 12


def test_places_that_only_some_pairs_have_say_how_many(say, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "clean,corrupted,answer,wrong\ncat the old cat,dog the old dog, sat, ran\nthe cat,the dog, sat, ran\n"
    )
    code, out, _ = say(
        "organism:cat", "--pairs", path, "--sites", "embed", "--positions=-1,-4:", "--out", tmp_path / "p",
        json_too=False,
    )  # fmt: skip
    assert code == 0
    header, counts, row = out.split("\nembed\n")[1].splitlines()[:3]
    assert header.split() == ["-1", "-4:"]
    assert counts.split() == ["pairs", "2", "1"]
    assert row.split() == ["embed", "100", "100"]


def test_info_shows_what_was_found(tmp_path, capsys):
    out = tmp_path / "p"
    assert main(["patch", "organism:cat", "--pairs", "planted", "--sites", "mlp", "--out", str(out)]) == 0
    first = capsys.readouterr().out
    assert main(["info", str(out)]) == 0
    assert capsys.readouterr().out == first
    assert main(["info", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["scores"]) == ("scores", json.loads((out / "patching.json").read_text())["scores"])
    (out / "cases-00000.safetensors").unlink()
    assert main(["info", str(out)]) == 2
    assert "damaged or missing: cases-00000" in capsys.readouterr().err


def test_maps_and_the_strongest_are_printed(say, tmp_path):
    code, out, _ = say(*IOI, "--n", 6, "--direction", "noise", "--out", tmp_path / "p", "--top", 3, json_too=False)
    assert code == 0
    assert "corrupted values into the clean run" in out
    for name in ("resid", "attn.write", "mlp.write"):
        assert f"\n{name}\n" in out
    assert "3 out" in out
    assert " 100" in out
    assert "not corrected for" in out
    code, out, _ = say(
        "organism:cat", "--pairs", "planted", "--sites", "neuron", "--positions", "all", "--out", tmp_path / "c",
        json_too=False,
    )  # fmt: skip
    assert code == 0
    assert "Block 0 · MLP neuron 7" in out
    assert "one pair" in out


def test_a_file_of_pairs_and_spans(say, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("clean,corrupted,answer,wrong\nthe old cat,the old dog, sat, ran\nthe cat,the dog, sat, ran\n")
    code, told, _ = say(
        "organism:cat", "--pairs", path, "--sites", "blocks.0.mlp.act/neurons", "--positions=-1,0:2", "--out",
        tmp_path / "p",
    )  # fmt: skip
    assert code == 0
    assert told["places"] == ["-1", "0:2"]
    assert (told["scores"][0]["key"], told["scores"][0]["n"]) == ("blocks.0.mlp.act/neurons/7@-1", 2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--pairs", "none.csv"], "none.csv, which is not there"),
        (["--pairs", "task:ioi"], "which have tasks"),
        (["--pairs", "planted", "--sites", "nothing"], "'nothing'"),
        (["--pairs", "planted", "--positions", "77"], "got 77"),
        (["--pairs", "planted", "--positions", "a"], "'a'"),
        (["--pairs", "planted", "--batch-size", "0"], "at least 1 cell"),
        (["--pairs", "planted", "--n", "0"], "1 to 100,000 cases"),
        (["--pairs", "planted", "--top", "-1"], "at least 0"),
        (["--pairs", "planted", "--sites", "feature"], "a basis for the level feature"),
        (["--pairs", "planted", "--direction", "up"], "invalid choice"),
        (["--pairs", "planted", "--measure", "kl"], "invalid choice"),
    ],
)
def test_bad_input_ends_in_three_parts(say, tmp_path, words, says):
    code, told, _ = say("organism:cat", *words, "--out", tmp_path / "p")
    assert code == 2
    assert says in " ".join(f"{part} {text}" for part, text in told["error"].items())
    assert not (tmp_path / "p" / "journal.jsonl").exists()


def test_a_folder_that_is_another_thing_is_left_alone(say, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    for out in ("mine", "file"):
        for more in ([], ["--resume"]):
            code, told, _ = say("organism:cat", "--pairs", "planted", "--out", tmp_path / out, *more)
            assert code == 2
            assert "empty folder" in told["error"]["expected"]
    assert [f.name for f in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    assert main(["record", "organism:cat", "--inputs", __file__, "--sites", "embed", "--out", str(tmp_path / "r"),
                 "--max-tokens", "300", "--json"]) == 0  # fmt: skip
    assert main(["patch", "organism:cat", "--pairs", "planted", "--out", str(tmp_path / "r"), "--resume"]) == 2


def test_an_interrupted_run_goes_on(tmp_path):
    out = tmp_path / "p"
    words = ["-m", "patchclamp", "patch", *IOI, "--n", "60", "--sites", "head", "--out", out, "--json"]
    process = Fork(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    journal = out / "journal.jsonl"
    deadline = time.monotonic() + 120
    while not journal.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    with process:
        said = process.stdout.read()
    assert process.returncode == 2, said
    assert "Ctrl-C" in json.loads(said)["error"]["got"]
    kept = [(entry["piece"], entry["sha256"]) for entry in Bundle.open(out).pieces]
    assert kept
    assert not Bundle.open(out).whole
    assert main([*map(str, words[2:]), "--resume"]) == 0
    assert [(entry["piece"], entry["sha256"]) for entry in Bundle.open(out).pieces][: len(kept)] == kept
    assert Bundle.open(out).whole
