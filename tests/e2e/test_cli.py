"""The command line, end to end: what it prints is what Python returns, and trouble has three parts."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import patchclamp as pc
from forks import run_command
from patchclamp.cli import main
from patchclamp.core.disk import hold_folder, write_durably
from patchclamp.organisms.language import neurons
from patchclamp.record.survey import survey_corpus
from patchclamp.report.html import number
from patchclamp.report.terminal.table import draw_bar

CAT = ("organism:cat", "the old cat")
ANSWERS = ("--target", " sat", "--contrast", " ran")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), {}),
        (
            ("--counterpart", "the old dog", "--method", "attribution_patching"),
            {"counterpart": "the old dog", "method": "attribution_patching"},
        ),
        (
            ("--method", "relp", "--level", "neuron", "--top", "2", "--controls", "25", "--seed", "3"),
            {"method": "relp", "levels": ["neuron"], "top": 2, "n_controls": 25, "seed": 3},
        ),
    ],
)
def test_explain_gives_the_same_numbers_in_every_form(say, cat, tmp_path, words, asked):
    graph_file, page = tmp_path / "graph.json", tmp_path / "report.html"
    code, told, _ = say("explain", *CAT, *ANSWERS, *words, "--out", graph_file, "--report", page)
    found = pc.explain(cat, CAT[1], " sat", contrast=" ran", **asked)
    assert code == 0
    assert told == found.to_json()
    assert told["causes"][0]["key"] == "cat/blocks.0.mlp.act/neurons/7@3"
    assert pc.Graph.load(graph_file) == found.graph()
    text = page.read_text()
    table = say("explain", *CAT, *ANSWERS, *words, json_too=False)[1]
    for cause in found.causes:
        unit = cause.key.split("/", 1)[1]
        assert unit in table
        assert unit in text.replace("<wbr>", "")
        assert f"{cause.measured:+.3f}" in table
        assert number(cause.measured, signed=True) in text
    assert f"patchclamp explain organism:cat '{CAT[1]}'" in text


def test_means_of_a_survey_are_a_reference(say, cat, story, tmp_path):
    sites = "blocks.*.mlp.act,blocks.*.attn.z"
    assert say("survey", "organism:cat", "--inputs", story, "--sites", sites, "--out", tmp_path / "s")[0] == 0
    code, told, _ = say("explain", *CAT, *ANSWERS, "--baseline", tmp_path / "s")
    found = pc.explain(cat, CAT[1], " sat", contrast=" ran", means=pc.StoredSurvey(tmp_path / "s"))
    assert (code, told["baseline"]) == (0, "mean")
    assert told == found.to_json()
    say("survey", "organism:cat", "--inputs", story, "--sites", "blocks.0.mlp.act", "--out", tmp_path / "part")
    code, told, _ = say("explain", *CAT, *ANSWERS, "--baseline", tmp_path / "part")
    assert code == 2
    assert "blocks.1.mlp.act" in told["error"]["got"]
    pieces = tmp_path / "s" / "statistics.safetensors"
    data = bytearray(pieces.read_bytes())
    data[-2] ^= 0x40
    pieces.write_bytes(data)
    code, told, _ = say("explain", *CAT, *ANSWERS, "--baseline", tmp_path / "s")
    assert code == 2
    assert "statistics" in told["error"]["got"]
    card = say("organism", "card", "copy-gpt2")[1]
    words = (card["prompt"], "--target", card["target"], "--contrast", card["contrast"])
    code, told, _ = say("explain", "organism:copy-gpt2", *words, "--baseline", tmp_path / "part")
    assert "a survey of " in told["error"]["expected"]


def test_organisms_are_listed_and_shown(say):
    code, told, _ = say("organism", "list")
    names = [card["name"] for card in told]
    assert code == 0
    assert {"cat", "mover-gpt2", "mover-llama", "backup-gpt2"} <= set(names)
    listed = " ".join(say("organism", "list", json_too=False)[1].split())
    assert all(f"organism:{card['name']}" in listed and card["what"].split()[-1] in listed for card in told)
    for name in names:
        code, card, _ = say("organism", "card", name)
        assert code == 0
        assert card in told
        code, out, _ = say("organism", "card", f"organism:{name}", json_too=False)
        assert all(key in out for key in card["true"])


def test_text_of_the_microworld_comes_with_its_labels(say):
    code, told, _ = say("organism", "text", "language-gpt2", "--n", "20", "--seed", "3")
    lines = say("organism", "text", "language-llama", "--n", "20", "--seed", "3", "--labels", json_too=False)[1]
    plain = say("organism", "text", "language-gpt2", "--n", "20", "--seed", "3", json_too=False)[1]
    assert code == 0
    assert [json.loads(line) for line in lines.splitlines()] == told
    assert all(len(one["tokens"]) == len(one["concepts"]) for one in told)
    assert all(one["text"] in plain for one in told)


def test_evaluate_measures_what_the_card_says(say, monkeypatch):
    # Neurons, which take most of the time, are measured in tests/planted/test_language.py.
    record = neurons.activations
    monkeypatch.setattr(neurons, "activations", lambda model, texts: record(model, texts[:300]))
    code, told, _ = say("organism", "evaluate", "language-gpt2", "--n", "40")
    card = say("organism", "card", "language-gpt2")[1]
    assert code == 0
    assert told["tasks"].keys() == card["tasks"].keys()
    assert abs(told["tasks"]["ioi"]["accuracy"] - card["tasks"]["ioi"]["accuracy"]) < 0.1
    assert told["loss"] == pytest.approx(card["loss"], abs=1e-3)
    out = say("organism", "card", "language-gpt2", json_too=False)[1]
    assert all(task in out for task in card["tasks"])


def test_calibrate_prints_one_table(say):
    code, told, _ = say("calibrate", "cat", "organism:decoy-gpt2")
    by = {(f["organism"], f["method"]): f for f in told["findings"]}
    assert code == 0
    assert by["cat", "activation_patching"]["found"] == by["cat", "oracle"]["found"] == 2
    assert by["decoy-gpt2", "activation"]["found"] < by["decoy-gpt2", "activation_patching"]["found"]
    assert all(f["found"] == f["true"] for f in told["edges"] if f["method"] in ("activation_patching", "oracle"))
    assert told["joint"] == []
    code, out, _ = say("calibrate", "cat", json_too=False)
    assert code == 0
    assert "mean share" in out
    assert "Edges" in out


def test_calibrate_holds_predictions_against_replacements_where_no_circuit_is_known(say):
    words = ("calibrate", "language-llama", "--tasks", "agreement", "--pairs", "1")
    code, told, _ = say(*words)
    by = {row["method"]: row for row in told["tasks"]}
    assert code == 0
    assert by["integrated_gradients"]["receipt"] > by["integrated_gradients"]["control"]
    assert by["integrated_gradients"]["spearman"] > by["random"]["spearman"]
    code, out, _ = say(*words, json_too=False)
    assert code == 0
    assert f"{by['integrated_gradients']['spearman']:.2f}" in out


def test_the_table_names_the_planted_neuron_and_not_the_louder_decoy(say):
    code, out, _ = say("explain", *CAT, *ANSWERS, "--full", json_too=False)
    causes = out.split("Receipt")[0]
    assert code == 0
    assert "blocks.0.mlp.act/neurons/7@3" in causes
    assert "blocks.0.mlp.act/neurons/3@3" not in causes
    assert "falls from 4.00 to -4.00 logits; none of 99 random sets does as much (p = 0.01)." in " ".join(out.split())
    assert "same kind, any layer and position" in out


def test_a_corrupted_prompt_is_the_baseline_where_one_is_given(say):
    code, told, _ = say("explain", *CAT, *ANSWERS, "--counterpart", "the old dog")
    assert code == 0
    assert told["baseline"] == "corrupted"
    assert told["method"] == "integrated_gradients"
    assert told["metric_baseline"] < 0 < told["metric_clean"]
    assert told["causes"][0]["key"] == "cat/blocks.0.mlp.act/neurons/7@3"


def test_generate_says_what_python_says_with_and_without_the_clamp(say, cat):
    code, told, _ = say("generate", *CAT, "--clamp", "blocks.0.mlp.act/neurons/7=0", "--at", "3")
    clamped = cat.generate(CAT[1], interventions=[pc.clamp("blocks.0.mlp.act/neurons/7=0", at="3")])[0]
    assert code == 0
    assert told["unclamped"]["text"] == cat.generate(CAT[1])[0].text
    assert told["clamped"]["ids"] == clamped.ids.tolist()
    assert told["clamped"]["text"] != told["unclamped"]["text"]


def test_a_key_may_carry_its_own_step(say):
    everywhere = say("generate", *CAT, "--clamp", "blocks.0.mlp.act/neurons/7=0")[1]
    late = say("generate", *CAT, "--clamp", "blocks.0.mlp.act/neurons/7@+3=0")[1]
    assert late["clamped"]["text"] == late["unclamped"]["text"] != everywhere["clamped"]["text"]


def test_record_survey_and_info_agree_with_a_fresh_forward(say, cat, story, tmp_path):
    common = ("organism:cat", "--inputs", story, "--sites", "blocks.*.mlp.act", "--window", "16")
    code, told, err = say("record", *common, "--out", tmp_path / "r")
    assert (code, told["kind"], told["whole"]) == (0, "recording", True)
    assert "on disk" in err
    assert "of computing" in err
    assert say("survey", *common, "--out", tmp_path / "s")[0] == 0
    assert say("info", tmp_path / "r")[1]["hash"] == told["hash"]

    stored = pc.StoredRecording(tmp_path / "r")
    last = stored.n_stimuli - 1
    fresh = cat.run(stored.stimulus(last), record="blocks.0.mlp.act", logits=False).recording
    np.testing.assert_allclose(stored.of("blocks.0.mlp.act", last), fresh["blocks.0.mlp.act"].numpy(), atol=1e-6)
    maximum = pc.StoredSurvey(tmp_path / "s").statistics("blocks.0.mlp.act")["maximum"]
    assert maximum[7] == pytest.approx(3.0, abs=1e-5)


def test_resume_with_another_plan_is_refused_and_costs_nothing(say, story, tmp_path):
    words = ("record", "organism:cat", "--inputs", story, "--sites", "blocks.0.mlp.act", "--out", tmp_path / "r")
    assert say(*words, "--window", "16")[0] == 0
    before = {f.name: f.read_bytes() for f in (tmp_path / "r").iterdir()}
    code, told, _ = say(*words, "--window", "8", "--resume")
    assert code == 2
    assert "plan.window: 16 then, 8 now" in told["error"]["got"]
    assert {f.name: f.read_bytes() for f in (tmp_path / "r").iterdir()} == before


def test_info_names_the_damaged_piece(say, story, tmp_path):
    say("record", "organism:cat", "--inputs", story, "--sites", "blocks.0.mlp.act", "--out", tmp_path / "r")
    shard = tmp_path / "r" / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    code, told, _ = say("info", tmp_path / "r")
    assert code == 2
    assert "shard-00000" in told["error"]["got"]


def test_sites_and_verify(say):
    code, told, _ = say("info", "organism:cat")
    by_path = {s["path"]: s for s in told["sites"]}
    assert code == 0
    assert by_path["blocks.0.mlp.act"]["width"] == 16
    assert by_path["blocks.1.attn.pattern"]["tapped"]
    code, told, _ = say("verify", "organism:cat")
    exact = {v["name"]: v["deviation"] for v in told["verdicts"]}
    assert (code, told["passed"]) == (0, True)
    assert exact["native, every site recorded"] == exact["tap against eager"] == 0.0


TROUBLE = {
    "no such folder": ("info", "./nowhere"),
    "an answer that the vocabulary lacks": ("explain", *CAT, "--target", " sat", "--contrast", " zebra"),
    "one file for graph and report": ("explain", *CAT, *ANSWERS, "--out", "same.json", "--report", "./same.json"),
    "a file that cannot be written": ("explain", *CAT, *ANSWERS, "--report", "/proc/report.html"),
    "a file without a name": ("explain", *CAT, *ANSWERS, "--out="),
    "more controls than can be drawn": ("explain", *CAT, *ANSWERS, "--controls", "9" * 30),
    "corrupted prompt equal to the prompt": ("explain", *CAT, *ANSWERS, "--counterpart", CAT[1]),
    "a device that computes nothing": ("explain", *CAT, *ANSWERS, "--device", "meta"),
    "unknown organism": ("info", "organism:dog"),
    "unknown family": ("verify", "family:unicorn"),
    "no verb's options": ("explain", "organism:cat"),
    "unknown verb": ("exlpain", "organism:cat"),
    "empty prompt": ("generate", "organism:cat", " "),
    "prompt longer than the context": ("generate", "organism:cat", "cat " * 5000),
    "unit out of range": ("generate", *CAT, "--clamp", "blocks.0.mlp.act/neurons/99=1"),
    "broken key": ("generate", *CAT, "--clamp", "neuron seven=1"),
    "value that is no number": ("generate", *CAT, "--clamp", "blocks.0.mlp.act/neurons/7=nan"),
    "unknown site": ("generate", *CAT, "--clamp", "blocks.7.mlp.act/neurons/7=1"),
    "position beyond the prompt": ("generate", *CAT, "--clamp", "blocks.0.mlp.act/neurons/7=0", "--at", "40"),
    "contrast equal to target": ("explain", *CAT, "--target", " sat", "--contrast", " sat"),
    "corrupted prompt of another length": ("explain", *CAT, *ANSWERS, "--counterpart", "the cat"),
    "no causes asked for": ("explain", *CAT, *ANSWERS, "--top", "0"),
    "unknown level": ("explain", *CAT, *ANSWERS, "--level", "layer"),
    "unknown method": ("explain", *CAT, *ANSWERS, "--method", "saliency"),
    "too few controls": ("explain", *CAT, *ANSWERS, "--controls", "5"),
    "two baselines": ("explain", *CAT, *ANSWERS, "--counterpart", "the old dog", "--baseline", "zero"),
    "a baseline that is no folder": ("explain", *CAT, *ANSWERS, "--baseline", "no/such/survey"),
    "a prompt that changes when the answer is appended": ("explain", *CAT, "--target", "s"),
    "report in no folder": ("explain", *CAT, *ANSWERS, "--report", "no/such/folder/report.html"),
    "report into a folder": ("explain", *CAT, *ANSWERS, "--report", "."),
    "card of an unknown organism": ("organism", "card", "unicorn"),
    "a card without a name": ("organism", "card"),
    "a list with a name": ("organism", "list", "cat"),
    "train without a folder": ("organism", "train", "language-gpt2"),
    "train into a folder that is not empty": ("organism", "train", "language-gpt2", "--out", "."),
    "train a planted circuit": ("organism", "train", "cat", "--out", "new"),
    "evaluate a planted circuit": ("organism", "evaluate", "cat"),
    "no text at all": ("organism", "text", "language-gpt2", "--n", "0"),
    "more text than memory": ("organism", "text", "language-gpt2", "--n", "1000000000000"),
    "evaluate on nothing": ("organism", "evaluate", "language-gpt2", "--n", "0"),
    "calibrate an unknown task": ("calibrate", "language-gpt2", "--tasks", "juggling"),
    "calibrate pairs where a circuit is planted": ("calibrate", "cat", "--pairs", "3"),
    "calibrate without pairs": ("calibrate", "language-gpt2", "--pairs", "0"),
    "calibrate an unknown organism": ("calibrate", "unicorn"),
    "out in no folder": ("explain", *CAT, *ANSWERS, "--out", "no/such/folder/graph.json"),
    "unknown dtype": ("info", "organism:cat", "--dtype", "float8"),
    "no recording there": ("info", "./nowhere"),
}


@pytest.mark.parametrize("words", TROUBLE.values(), ids=TROUBLE.keys())
def test_trouble_has_three_parts_and_exit_code_2(words, say, capsys):
    code, told, _ = say(*words)
    assert code == 2
    assert set(told["error"]) == {"expected", "got", "remedy"}
    assert all(told["error"].values())
    assert main([*words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # What the work would cost may have been said before.
    assert [line.split()[0] for line in err.splitlines()[-3:]] == ["patchclamp:", "got", "to"]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "write",
    [
        lambda f: f.write_bytes(b""),
        lambda f: f.write_bytes(b"\x00\x01" * 100),
        lambda f: f.write_bytes(b"caf\xe9 " * 9),
    ],
    ids=["empty", "binary", "latin-1"],
)
def test_text_that_is_no_text_is_refused(write, say, tmp_path):
    write(tmp_path / "t.txt")
    words = ("organism:cat", "--inputs", tmp_path / "t.txt", "--sites", "blocks.0.mlp.act", "--out", tmp_path / "r")
    for verb in ("record", "survey"):
        code, told, _ = say(verb, *words)
        assert code == 2
        assert "t.txt" in told["error"]["got"]
        assert not (tmp_path / "r").exists()


def test_pickled_weights_and_remote_code_are_refused_with_the_remedy(say, tmp_path):
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    told = say("info", tmp_path)[1]["error"]
    assert "pickled weights pytorch_model.bin" in told["got"]
    assert "save_pretrained" in told["remedy"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    assert "its own Python code" in say("info", tmp_path)[1]["error"]["got"]


def test_the_main_job_on_a_real_network_as_a_process(stories):
    prompt = "Once upon a time, there was a little girl named"
    done = run_command("explain", stories, prompt, "--target", " Lily", "--contrast", " Tim", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["likeliest"][0][0] == " Lily"
    assert any(c["kind"] == "neuron" for c in told["causes"])
    assert told["measured"] > max(told["receipts"]["randoms"]["measured"])
    best = next(c["key"] for c in told["causes"] if c["kind"] == "neuron").split("@")[0]
    done = run_command("generate", stories, prompt, "--clamp", f"{best}=9", "--json")
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert story["unclamped"]["text"].startswith(" Lily")
    assert story["clamped"]["text"] != story["unclamped"]["text"]


# -- what an attack found ---------------------------------------------------------------------------------------------


def test_a_device_is_never_replaced_by_a_file(say):
    code, told, _ = say("explain", *CAT, *ANSWERS, "--out", "/dev/null")
    assert code == 2
    assert "/dev/null" in told["error"]["got"]
    assert not Path("/dev/null").is_file()
    with pytest.raises(pc.PatchclampError, match="a folder or a device"):
        write_durably(Path("/dev/null"), b"x")


@pytest.fixture
def interrupted(cat, story, tmp_path, monkeypatch):
    """A recording of several shards that was stopped before its end."""
    monkeypatch.setattr("patchclamp.record.stream.SHARD_BYTES", 1)

    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pc.record(cat, pc.Corpus(story, window=16), "blocks.0.mlp.act", tmp_path / "r", batch_size=2, progress=stop)
    return tmp_path / "r"


def resume(say, story, folder):
    words = (
        "record",
        "organism:cat",
        "--inputs",
        story,
        "--sites",
        "blocks.0.mlp.act",
        "--window",
        16,
        "--batch-size",
        2,
    )
    return say(*words, "--out", folder, "--resume")


def test_a_lost_journal_does_not_cost_the_shards(say, story, interrupted):
    shards = sorted(interrupted.glob("shard-*"))
    assert len(shards) > 2
    (interrupted / "journal.jsonl").unlink()
    code, told, _ = resume(say, story, interrupted)
    assert code == 2
    assert "lost lines" in told["error"]["got"]
    assert sorted(interrupted.glob("shard-*")) == shards


def test_a_resume_leaves_other_peoples_files_alone(say, story, interrupted):
    (interrupted / "mine.safetensors").write_bytes(b"mine")
    (interrupted / "mine.part").write_bytes(b"mine")
    assert resume(say, story, interrupted)[0] == 0
    assert (interrupted / "mine.safetensors").exists()
    assert (interrupted / "mine.part").exists()


def test_a_folder_has_one_writer(say, story, interrupted):
    with hold_folder(interrupted):
        code, told, _ = resume(say, story, interrupted)
    assert code == 2
    assert "another process" in told["error"]["got"]
    assert resume(say, story, interrupted)[0] == 0


def test_a_damaged_checkpoint_is_not_trusted(cat, story, tmp_path):
    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    how, corpus = {"batch_size": 2, "checkpoint_s": 0.0}, pc.Corpus(story, window=16)
    with pytest.raises(KeyboardInterrupt):
        survey_corpus(cat, corpus, "blocks.0.mlp.act", tmp_path / "s", progress=stop, **how)
    [state] = (tmp_path / "s").glob("state-*")
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    with pytest.raises(pc.PatchclampError, match="changed or is missing"):
        survey_corpus(cat, corpus, "blocks.0.mlp.act", tmp_path / "s", resume=True, **how)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [("info", "organism:cat"), ("info", "organism:cat", "--json"), ("--version",)])
def test_an_output_that_cannot_be_written_is_an_error_without_a_traceback(words):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = run_command(*words, stdout=full, env=buffered)
    assert done.returncode == 2
    assert done.stderr.count("to do") == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    with subprocess.Popen(["head", "-1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as head:
        done = run_command("info", "organism:cat", stdout=head.stdin)
    assert (done.returncode, done.stderr) == (0, "loading organism:cat …\n")


def test_an_output_that_knows_only_ascii_still_shows_everything():
    done = run_command("explain", *CAT, *ANSWERS, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "blocks.0.mlp.act/neurons/7@3" in done.stdout


@pytest.mark.parametrize("delay", [0.1, 0.3, 1.0, 2.5])
def test_ctrl_c_is_told_in_three_lines(delay):
    command = [sys.executable, "-m", "patchclamp", "verify", "organism:cat"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(delay)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    # Before our first line runs the signal is Python's own business.
    assert child.returncode in (0, 2, -signal.SIGINT)
    if child.returncode == 2:
        assert "Ctrl-C" in err
        assert "Traceback" not in err


def test_options_are_written_out_and_end_at_two_dashes(say, capsys):
    assert main(["info", "organism:cat", "--jso"]) == 2
    assert "--jso" in capsys.readouterr().err
    assert main(["generate", "organism:cat", "--max-new-tokens", "1", "--", "--json"]) == 0
    assert not capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize(
    "words",
    [
        ("--max-new-tokens", "0"),
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--temperature", "1e-30"),
        ("--seed", "-1"),
        ("--temperature", "1", "--clamp", "final/neurons/0=1e300"),
    ],
)
def test_numbers_that_make_no_text_are_refused(say, words):
    code, told, _ = say("generate", *CAT, *words)
    assert code == 2
    assert "not to fail" not in told["error"]["expected"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--passes", "9" * 400), ("--passes", str(2**63)), ("--coder-batch", "9" * 400), ("--passes", "nan"),
        ("--expansion", "nan"), ("--expansion", "inf"), ("--learning-rate", "1e400"), ("--expansion", "--"),
    ],
)  # fmt: skip
def test_a_number_that_no_computer_counts_with_is_refused(say, story, tmp_path, option, value):
    words = ["decompose", "organism:cat", "--inputs", story, "--sites", "blocks.0.mlp.act", "--out", tmp_path / "o"]
    code, told, _ = say(*words, f"{option}={value}")
    assert code == 2
    assert option in told["error"]["got"]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("option", ["--device", "--dtype", "--inputs"])
def test_two_dashes_as_a_value_are_a_value(say, option):
    inputs = [] if option == "--inputs" else ["--inputs", __file__]
    words = ["record", "organism:cat", *inputs, "--sites", "blocks.0.mlp.act", "--out", "o", f"{option}=--"]
    code, told, _ = say(*words)
    assert code == 2
    assert "--" in told["error"]["got"]
    assert "defect" not in told["error"]["remedy"]


def test_a_path_that_leads_round_in_a_circle_is_refused(say, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, told, _ = say("atlas", "info", tmp_path / "loop")
    assert code == 2
    assert "loop" in told["error"]["got"]
    assert "defect" not in told["error"]["remedy"]


def test_integrated_gradients_find_a_circuit(say, tmp_path):
    words = [
        "circuit",
        "find",
        "organism:cat",
        "--pairs",
        "planted",
        "--method",
        "integrated_gradients",
        "--out",
        tmp_path / "c",
    ]
    code, told, _ = say(*words)
    assert code == 0, told
    assert told["method"] == "integrated_gradients"


def test_the_root_is_no_atlas(say):
    code, told, _ = say("atlas", "info", "/")
    assert code == 2
    assert "defect" not in told["error"]["remedy"]


def test_what_no_unit_moves_is_refused_and_unknown_words_are_named(say):
    words = "explain", "organism:facts-gpt2", "The capital of France is", "--target", " Paris", "--contrast", " Rome"
    code, told, err = say(*words)
    assert code == 2
    assert "nothing to explain" in told["error"]["got"]
    assert "lacks 'The', 'capital', 'is'" in told["error"]["remedy"]
    assert "note: the vocabulary lacks 'The', 'capital', 'is', and reads <unk> instead" in err
    assert "lacks 'unicorn'" in say("generate", "organism:cat", "the old unicorn", "--max-new-tokens", "1")[2]
    assert "lacks" not in say("generate", *CAT, "--max-new-tokens", "1")[2]


def test_the_advice_loads_the_model_as_it_was_explained(say):
    how = ("--bos", "--dtype", "float32")
    code, table, _ = say("explain", *CAT, *ANSWERS, "--top", "2", *how, json_too=False)
    command = shlex.split(table.rpartition("opposite value of the first unit: ")[2])
    assert code == 0
    assert tuple(command[-3:]) == how
    assert say(*command[1:], json_too=False)[0] == 0


def test_a_survey_prints_the_range_of_every_site(say, story, tmp_path):
    site = "blocks.0.mlp.act"
    words = "survey", "organism:cat", "--inputs", story, "--sites", f"{site},embed", "--out", tmp_path / "s"
    code, out, _ = say(*words, json_too=False)
    assert code == 0
    found = pc.StoredSurvey(tmp_path / "s").statistics(site)
    row = next(line.split() for line in out.splitlines() if line.startswith(site))
    assert row == [
        site, "16", str(int((found["maximum"] <= 0).sum())), f"{found['minimum'].min():.2f}",
        f"{found['mean'].mean():.2f}", f"{found['maximum'].max():.2f}", str(found["maximum"].argmax()),
    ]  # fmt: skip


def test_bars_have_a_sign_and_none_stands_for_nothing():
    assert [draw_bar(value, 0.29).plain for value in (0.29, -0.29, 0.0004, None)] == ["█" * 12, "−" + "█" * 12, "", ""]


@pytest.mark.parametrize(
    ("target", "contrast", "level", "place"), [(" sat ran", " sat on", "head", "@4"), (" ran to", None, "neuron", "@3")]
)
def test_the_advice_runs_where_the_answer_has_a_beginning(say, tmp_path, target, contrast, level, place):
    begun = target.rpartition(" ")[0]
    asked = ("--target", target, *(() if contrast is None else ("--contrast", contrast)), "--top", "2")
    report = tmp_path / "report.html"
    code, table, _ = say("explain", *CAT, *asked, "--level", level, "--report", report, json_too=False)
    assert code == 0
    assert f"The answer's beginning {begun!r} is shown after the prompt" in table
    command = shlex.split(table.rpartition("opposite value of the first unit: ")[2])
    assert command[:4] == ["patchclamp", "generate", "organism:cat", f"the old cat{begun}"]
    assert place in command[-1]
    assert say(*command[1:], json_too=False)[0] == 0
    assert f"the text that was scored is <code>the old cat{begun}</code>" in report.read_text()
    assert say("explain", *CAT, *ANSWERS, "--top", "2", json_too=False)[1].count("beginning") == 0
