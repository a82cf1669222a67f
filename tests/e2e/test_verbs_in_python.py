"""Verbs in Python: the public function of a verb gives what its command prints."""

import json

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.circuit import load_circuit, to_document
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Task
from patchclamp.report.terminal.estimate import sentence

CAT = "organism:cat"


def plain(data):
    """Return data as JSON gives it back."""
    return json.loads(json.dumps(data))


@pytest.fixture
def asked():
    return Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (
            ["--level", "edge", "--method", "eap", "--direction", "denoise"],
            {"level": "edge", "method": "eap", "direction": "denoise"},
        ),
        (
            ["--level", "neuron", "--method", "relp", "--top", 2, "--rules", "ln,half", "--controls", 20, "--seed", 3],
            {"level": "neuron", "method": "relp", "top": 2, "rules": ["ln", "half"], "n_controls": 20, "seed": 3},
        ),
    ],
)
def test_find_circuit_gives_what_the_command_keeps(say, tmp_path, words, options):
    code, document, _ = say("circuit", "find", CAT, "--pairs", "planted", "--out", tmp_path / "c", *words)
    assert code == 0
    model = pc.load(CAT)
    found = pc.find_circuit(model, pc.open_task("planted", model), **options)
    kept = load_circuit(tmp_path / "c")
    assert plain(to_document(found)) == document
    np.testing.assert_array_equal(found.values, kept.values)
    plans = [one.provenance.extra["plan"]["plan"] for one in (found, kept)]
    assert plain(plans[0]) == plain(plans[1])


def test_find_circuit_goes_on_where_it_was_interrupted(tmp_path):
    model, seen = pc.load(CAT), []
    task = pc.open_task("planted", model)

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pc.find_circuit(model, task, method="activation_patching", out=tmp_path / "c", progress=stop)
    with pytest.raises(PatchclampError, match="resume"):
        pc.find_circuit(model, task, method="activation_patching", out=tmp_path / "c")
    again = pc.find_circuit(model, task, method="activation_patching", out=tmp_path / "c", resume=True)
    whole = pc.find_circuit(model, task, method="activation_patching")
    assert plain(to_document(again)) == plain(to_document(whole))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c"]


def test_what_scoring_takes_is_stated_before_it_begins(asked):
    costs = []
    found = pc.find_circuit(pc.load(CAT), asked, top=1, state=costs.append)
    edges = pc.find_circuit(pc.load(CAT), asked, level="edge", method="eap", top=1, state=costs.append)
    assert [(one.parts, one.method) for one in costs] == [(len(found), "activation_patching"), (len(edges), "eap")]


def test_evaluate_reads_a_circuit(say, tmp_path):
    say("circuit", "find", CAT, "--pairs", "planted", "--out", tmp_path / "c")
    words = ("evaluate", CAT, tmp_path / "c", "--pairs", "planted", "--seen", "--sizes", "3,75%")
    code, document, _ = say(*words)
    assert code == 0
    model, circuit = pc.load(CAT), load_circuit(tmp_path / "c")
    found = pc.evaluate(circuit, model, pc.open_task("planted", model), seen=True, sizes=[3, 0.75])
    assert plain(found.to_json()) == document


def test_evaluate_reads_a_dictionary_and_compare_two(say, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the old cat sat on the mat.\nthe dog ran to the park.\n" * 40)
    for seed in (0, 1):
        say(
            "decompose",
            CAT,
            "--method",
            "random",
            "--n-features",
            20,
            "--k",
            4,
            "--sites",
            "blocks.0.mlp.act",
            "--inputs",
            text,
            "--seed",
            seed,
            "--out",
            tmp_path / str(seed),
        )
    one, other = (Dictionary.load(tmp_path / name) for name in ("0", "1"))
    words = ("evaluate", CAT, tmp_path / "0", "--inputs", text)
    code, document, _ = say(*words, "--max-tokens", 300, "--window", 32)
    assert code == 0
    assert plain(pc.evaluate(one, pc.load(CAT), text, max_tokens=300, window=32).to_json()) == document
    code, document, _ = say("compare", tmp_path / "0", tmp_path / "1")
    assert code == 0
    assert plain(pc.compare(one, other).to_json()) == document
    with pytest.raises(PatchclampError, match="two recordings, or two dictionaries"):
        pc.compare(one, pc.load(CAT).run("the old cat", record="blocks.0.mlp.act").recording)
    with pytest.raises(PatchclampError, match="without a method"):
        pc.compare(one, other, method="rsa")


def test_convert_basis_writes_what_the_command_writes(say, tmp_path):
    basis = pc.Basis(
        "lab", "directions", *[np.eye(4, dtype=np.float32)] * 2, *[np.zeros(4, np.float32)] * 2, activation="relu"
    )
    Dictionary({"blocks.0.attn.write": basis}, {"slug": "x"}, "by hand").save(tmp_path / "own")
    notes = []
    [folder] = pc.convert_basis(tmp_path / "own", tmp_path / "python", "saelens", note=notes.append)
    code, _, err = say("decompose", "--convert", tmp_path / "own", "--to", "saelens", "--out", tmp_path / "typed")
    assert code == 0
    assert [note for note in notes if "depends on the model's norms" in note]
    assert "depends on the model's norms" in err
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "typed" / file.name).read_bytes()


def test_generate_continues_text_with_units_clamped(say):
    clamp = "blocks.0.mlp.act/neurons/7=0"
    code, document, _ = say("generate", CAT, "the old cat", "--clamp", clamp, "--max-new-tokens", 4)
    assert code == 0
    found = pc.generate(pc.load(CAT), "the old cat", [clamp], max_new_tokens=4)
    assert plain(found.to_json()) == document
    assert found.bare.text != found.clamped.text
    assert pc.generate(pc.load(CAT), "the old cat", max_new_tokens=4).to_json()["clamped"] is None


def test_generate_gives_an_image_its_classes(say):
    net, clamp = "organism:digits-cnn", "blocks.1.conv1.act/channels/8=0"
    code, document, _ = say("generate", net, "digits:17", "--clamp", clamp, "--top", 3)
    assert code == 0
    assert plain(pc.generate(pc.load(net), "digits:17", [clamp], top=3).to_json()) == document


def test_generate_refuses_what_neither_writes_nor_classifies():
    import torch

    with pytest.raises(PatchclampError, match="continues text or classifies images"):
        pc.generate(pc.wrap(torch.nn.Linear(2, 3), torch.zeros(1, 2)), torch.zeros(1, 2))


def test_evaluate_reads_an_explainer(say):
    net = "organism:digits-cnn"
    code, document, _ = say("evaluate", net, "--inputs", "digits:0:2", "--controls", 19)
    assert code == 0
    model = pc.load(net)
    found = pc.evaluate("occlusion", model, pc.own_answers(model, "digits:0:2"), n_random=19)
    assert plain(found.to_json()).items() <= document.items()


def test_evaluate_says_what_it_takes():
    with pytest.raises(PatchclampError, match="one of Scores, Dictionary"):
        pc.evaluate(3.0)
    with pytest.raises(PatchclampError, match="with scores"):
        pc.evaluate([pc.Description(pc.UnitKey("blocks.0.mlp.act", 7), "cats", "person/ada")])


def test_evaluate_reads_a_direction():
    cat = pc.load(CAT)
    up = pc.Basis("up", "directions", decoder=np.eye(16)[7:8], site="blocks.0.mlp.act")
    few = {"n_random": 19, "max_new_tokens": 2, "strength": 5.0}
    prompts = Task.of_labels({"text": ["the old cat", "the dog", "the old dog"]})
    found = pc.evaluate(up, cat, prompts, **few)
    assert (found.receipt.measured.n, found.receipt.controls.n_different) == (3, 19)
    # Of one prompt, shown as often as it is sampled there, it is what continue_steered measures.
    same = pc.evaluate(Dictionary.of(up), cat, Task.of_labels({"text": ["the old cat"] * 4}), **few)
    assert plain(same.receipt.to_json()) == plain(
        pc.continue_steered(cat, up, "the old cat", n=4, **few).receipt.to_json()
    )


def test_patch_gives_in_memory_what_it_keeps_in_a_folder(asked, tmp_path):
    cat, jobs = pc.load(CAT), []
    kept = pc.patch(cat, asked, "mlp", direction="noise", out=tmp_path / "p", state=jobs.append)
    alone = pc.patch(cat, cat.read(asked), "mlp", direction="noise")
    np.testing.assert_array_equal(kept.per_case, alone.per_case)
    assert jobs[0].n_cells == kept.per_case.size
    with pytest.raises(PatchclampError, match="new or empty folder"):
        pc.patch(cat, asked, "mlp", out=tmp_path / "p")


def test_a_greedy_order_is_a_rival_and_no_ceiling():
    model = pc.load("organism:digits-cnn")
    found = pc.evaluate("occlusion", model, pc.own_answers(model, "digits:0:2"), n_random=19)
    assert found.ceiling is None
    assert list(found.rivals) == ["greedy order"]
    assert pc.Estimate.from_json(found.to_json()) == found
    assert sentence(found).endswith(f"; greedy order {found.rivals['greedy order']:.3f}")
