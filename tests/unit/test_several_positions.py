"""Metrics over several positions, and means per position: what encoders, decoders and images give is that of hooks."""

import json

import numpy as np
import pytest
import torch

import masked_words
import patchclamp as pc
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.attribute.patching import patch_sites
from patchclamp.cli import main
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.evaluate.circuit_ablation import interchange

PAIRS = [
    Case("w1 [MASK] w7 [MASK] .", "w2 [MASK] w7 [MASK] .", ("w3",), ("w4",)),
    Case("w5 [MASK] w9 [MASK] .", "w6 [MASK] w9 [MASK] .", ("w3", "w8"), ("w4",)),
    Case("w10 [MASK] w9 [MASK] .", "w11 [MASK] w7 [MASK] .", ("w3",), ("w4",)),
]
MASKS, LAYER, UNIT = [2, 4], 1, 5
ACT = "blocks.1.mlp.act"


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request):
    return masked_words.encoder(request.param)


def act_of(model):
    """Return the module whose output is the activation of the second block's MLP."""
    inner = next(child for name, child in model.module.named_children() if hasattr(child, "encoder"))
    return inner.encoder.layer[LAYER].intermediate


def m_by_hand(model, pair, prompt, change=None, seen=None):
    """Return the logit difference in the mean over both masks, with what ``change`` gives in the activation's place."""
    ids = model.tokenizer.bare(prompt, return_tensors="pt").input_ids
    index = model.tokenizer.bare.convert_tokens_to_ids

    def look(_module, _args, y):
        if seen is not None:
            seen.append(y.clone())
        return None if change is None else change(y.clone())

    hook = act_of(model).register_forward_hook(look)
    with torch.no_grad():
        z = model.module(ids).logits[0, MASKS]
    hook.remove()
    return float(
        (z[:, [index(w) for w in pair.targets]].mean(1) - z[:, [index(w) for w in pair.contrasts]].mean(1)).mean()
    )


def test_pairs_with_two_masks_are_read_in_the_mean_over_both(encoder):
    pairs = encoder.read(Task(tuple(PAIRS)))
    assert [metric.positions for metric in pairs.metrics] == [tuple(MASKS)] * 3
    for k, pair in enumerate(PAIRS):
        assert pairs.m_clean[k] == pytest.approx(m_by_hand(encoder, pair, pair.shown), rel=1e-5)
        assert pairs.m_counterpart[k] == pytest.approx(m_by_hand(encoder, pair, pair.counterpart), rel=1e-5)


def test_patches_and_parts_move_both_masks_as_by_hand(encoder):
    pairs = encoder.read(Task(tuple(PAIRS)))
    circuit = attribute_pairs(encoder, pairs, level="neuron", method="activation_patching")
    patched = patch_sites(encoder, pairs, f"{ACT}/neurons", positions=["-2"])
    place = list(circuit.parts).index(f"{ACT}/neurons/{UNIT}")
    for k, pair in enumerate(PAIRS):
        seen = []
        other = m_by_hand(encoder, pair, pair.counterpart, seen=seen)

        def put(y, seen=seen):
            y[..., UNIT] = seen[0][..., UNIT]
            return y

        m = m_by_hand(encoder, pair, pair.shown, put)
        assert circuit.cases[k, place] == pytest.approx(pairs.m_clean[k] - m, abs=1e-4)
        clean = []
        whole = m_by_hand(encoder, pair, pair.shown, seen=clean) - other

        def put_one(y, clean=clean):
            y[0, -2, UNIT] = clean[0][0, -2, UNIT]
            return y

        share = (m_by_hand(encoder, pair, pair.counterpart, put_one) - other) / whole
        assert patched.per_case[k, patched.index.place(f"{ACT}/neurons/{UNIT}@-2")] == pytest.approx(share, abs=1e-4)


def test_what_is_left_out_is_the_mean_per_position_over_the_chosen_pairs(encoder):
    pairs = encoder.read(Task(tuple(PAIRS)))
    circuit = attribute_pairs(encoder, pairs, level="neuron", method="attribution_patching")
    chosen = encoder.read(Task(tuple(PAIRS[:2])))
    seen = []
    for pair in PAIRS[:2]:
        for prompt in (pair.shown, pair.counterpart):
            m_by_hand(encoder, pair, prompt, seen=seen)
    mean = torch.cat(seen).mean(0)
    kept = np.array([[not part.startswith(f"{ACT}/neurons/") for part in circuit.parts]])
    values = interchange(encoder, circuit, pairs, means=chosen).measure(kept)
    for k, pair in enumerate(PAIRS):
        m = m_by_hand(encoder, pair, pair.shown, lambda y: mean.expand_as(y))
        assert values[0, k] == pytest.approx(m, rel=1e-4, abs=1e-4)
        assert abs(m - pairs.m_clean[k]) > 0.01


@pytest.mark.parametrize("name", ["gpt2", "bert", "roberta"])
@pytest.mark.parametrize("positions", [(3, 5), (-1, 0, 2)])
def test_a_metric_over_several_positions_is_explained_as_the_mean_of_each(models, name, positions):
    model, shown = models[name], [2, 3, 4, 5, 6, 7]
    metric = pc.Metric("logit_difference", (11,), (12,), positions=positions)
    each = [pc.Metric("logit_difference", (11,), (12,), positions=(one,)) for one in positions]
    assert float(model.measure(shown, metric)) == pytest.approx(
        np.mean([float(model.measure(shown, one)) for one in each]), abs=1e-5
    )
    # The GELU of RoBERTa's head is a bare function, for which relevance rules have no stand-in.
    for method in (
        "attribution_patching",
        "integrated_gradients",
        "activation_patching",
        *(["relp"] if name != "roberta" else []),
    ):
        found, *parts = (
            pc.attribute_nodes(model, shown, one, method=method, levels=["head"]) for one in (metric, *each)
        )
        np.testing.assert_allclose(found.values, np.mean([part.values for part in parts], axis=0), atol=2e-4)
        assert np.abs(found.values).max() > 1e-3


def test_an_image_is_answered_at_one_position_whatever_it_is_called(digits_vit):
    shown = np.zeros((8, 8), dtype=np.uint8)
    shown[2:6, 3] = 200
    last, twice = (pc.Metric("logit", (3,), positions=positions) for positions in ((-1,), (-1, 0)))
    found = [
        pc.attribute_nodes(digits_vit, shown, metric, method="attribution_patching").values for metric in (last, twice)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    with pytest.raises(PatchclampError, match="position"):
        pc.attribute_nodes(digits_vit, shown, pc.Metric("logit", (3,), positions=(3, 5)), method="attribution_patching")


@pytest.fixture(scope="module")
def digits_vit():
    return pc.load("organism:digits-vit")


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_command_line_finds_and_judges_a_circuit_of_an_encoder(name, tmp_path, capsys):
    folder = tmp_path / name
    masked_words.module(name).save_pretrained(folder)
    masked_words.tokenizer().save_pretrained(folder)
    for file, some in (("train", PAIRS[:2]), ("test", PAIRS[2:])):
        lines = [
            {"clean": pair.shown, "corrupted": pair.counterpart, "answer": pair.targets[0], "wrong": pair.contrasts[0]}
            for pair in some
        ]
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def say(*words):
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    pairs = ("--pairs", tmp_path / "train.jsonl")
    code, told = say("circuit", "find", folder, *pairs, "--out", tmp_path / "c")
    assert code == 0, told
    words = ("evaluate", folder, tmp_path / "c", "--pairs", tmp_path / "test.jsonl")
    code, told = say(*words, "--baseline", "mean", "--train", tmp_path / "train.jsonl")
    assert code == 0, told
    assert told["baseline"].startswith("the mean")
    code, told = say("patch", folder, *pairs, "--sites", "mlp", "--out", tmp_path / "p")
    assert code == 0
    assert told["provenance"]["extra"]["tokens"][MASKS[0]] == "[MASK]"


def test_the_command_line_finds_and_judges_a_circuit_of_a_vision_transformer(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="needs scikit-learn's images")
    (tmp_path / "pairs.jsonl").write_text(
        "".join(
            json.dumps({"clean": f"digits:{clean}", "corrupted": f"digits:{other}", "answer": "3", "wrong": "8"}) + "\n"
            for clean, other in ((3, 21), (13, 28), (45, 29))
        )
    )

    def say(*words):
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    model, pairs = "organism:digits-vit", ("--pairs", tmp_path / "pairs.jsonl")
    code, told = say("circuit", "find", model, *pairs, "--level", "neuron", "--out", tmp_path / "c")
    assert code == 0, told
    code, told = say("evaluate", model, tmp_path / "c", *pairs, "--seen")
    assert code == 0, told
    code, told = say("patch", model, *pairs, "--sites", "resid", "--positions", "all", "--out", tmp_path / "p")
    assert code == 0, told
    assert [row["score"] for row in told["scores"]] == pytest.approx([1.0] * len(told["scores"]), abs=1e-4)
    for more, words in (
        (("--sites", "resid"), "the answer's positions"),
        (("--sites", "resid", "--positions", "all", "--chat"), "a language model, for --chat"),
    ):
        code, told = say("patch", model, *pairs, *more, "--out", tmp_path / "q")
        assert code == 2
        assert words in told["error"]["expected"]
    code, told = say("circuit", "find", model, *pairs, "--level", "edge", "--out", tmp_path / "e")
    assert code == 2
    assert "a language model of a known family, for edges" in told["error"]["expected"]
