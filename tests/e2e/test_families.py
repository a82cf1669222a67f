"""A masked model and a mixture of experts, from a folder on disk through every verb."""

import json

import numpy as np
import pytest
import torch

import patchclamp as pc
from forks import run_command
from patchclamp.cli import main
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.recording import StoredRecording
from patchclamp.subjects.families.spec import family

WORDS = ["the", "old", "cat", "dog", "sat", "ran", "on", "mat", "park", "to"]
SPECIAL = {"bos_token": "[CLS]", "unk_token": "[UNK]", "mask_token": "[MASK]", "pad_token": "[PAD]"}


def saved(name, folder):
    """Save a family's tiny model with a tokenizer of sixty-one words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["[CLS]", "[UNK]", "[MASK]", *WORDS, *(f"w{i}" for i in range(46)), "[PAD]", "[SEP]"]
    rules = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 60)]
    )
    PreTrainedTokenizerFast(tokenizer_object=rules, **SPECIAL).save_pretrained(folder)
    family(name).tiny().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folders of tiny models, each saved when it is first asked for."""
    made = {}

    def give(name):
        if name not in made:
            made[name] = saved(name, tmp_path_factory.mktemp(name))
        return str(made[name])

    return give


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("the old cat sat on the mat\nthe dog ran to the park\n" * 6)
    return str(path)


@pytest.fixture
def say(capsys):
    def run(*words):
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(("name", "kind"), [("bert", "BertForMaskedLM"), ("roberta", "RobertaForMaskedLM")])
def test_a_masked_model_is_loaded_as_one(folders, name, kind):
    model = pc.load(folders(name))
    assert type(model.module).__name__ == kind
    assert model.family is family(name)
    ids = [5, 9, 2, 11]
    bare = family(name).tiny()(input_ids=torch.tensor([ids])).logits[0]
    assert torch.equal(model.run([ids]).logits[0], bare)
    assert not model.capabilities.generate
    with pytest.raises(PatchclampError, match="masked"):
        model.generate("the cat")


def test_roberta_counts_positions_as_it_does_by_itself(folders):
    """transformers derives them from where the padding id stands; the rig passes them."""
    model = pc.load(folders("roberta"))
    ids = torch.tensor([[5, 9, 3, 11], [7, 8, 1, 1]])
    mask = (ids != 1).long()
    bare = model.module(input_ids=ids, attention_mask=mask).logits
    run = model.run([[5, 9, 3, 11], [7, 8]])
    assert (run.logits[0] - bare[0]).abs().max() <= 1e-5
    assert (run.logits[1, :2] - bare[1, :2]).abs().max() <= 1e-5
    with model.intervene([]):
        inside = model.module(input_ids=ids, attention_mask=mask).logits
    assert (inside[0] - bare[0]).abs().max() <= 1e-5
    assert model.context == 64 - 2


@pytest.mark.parametrize("name", ["bert", "qwen3_moe"])
def test_record_and_survey(folders, say, story, tmp_path, name):
    sites = "blocks.*.resid_out,blocks.0.mlp.act" + (",blocks.1.mlp.router" if name == "qwen3_moe" else "")
    words = (folders(name), "--inputs", story, "--sites", sites, "--window", 8)
    code, _ = say("record", *words, "--out", tmp_path / "recording")
    assert code == 0
    stored = StoredRecording(tmp_path / "recording").load()
    model = pc.load(folders(name))
    again = model.run(list(stored.stimuli[:8]), record=sites.split(",")).recording.to_numpy()
    for site, values in again.values.items():
        np.testing.assert_allclose(stored[site][: len(values)], values, atol=1e-5)
    code, facts = say("survey", *words, "--out", tmp_path / "survey")
    assert code == 0
    assert facts["whole"]


def test_explain_at_a_mask_in_the_middle(folders, tmp_path):
    words = [folders("bert"), "the [MASK] sat on", "--target", " cat", "--contrast", " dog", "--top", "4"]
    done = run_command("explain", *words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["question"]["metric"]["positions"] == [2]
    model = pc.load(folders("bert"))
    logits = model.run("the [MASK] sat on", logits=(2,)).logits[0, 0]
    m = float(logits[3 + WORDS.index("cat")] - logits[3 + WORDS.index("dog")])
    assert found["metric_clean"] == pytest.approx(m, abs=1e-4)
    # Seen later words too: a neuron after the mask may be a cause.
    assert len(found["causes"]) == 4
    key, measured = found["causes"][0]["key"], found["causes"][0]["measured"]
    site, basis, rest = key.split("/", 1)[1].split("/") if key.startswith(model.name) else key.split("/")
    unit, position = rest.split("@")
    clamp = pc.change("ablate", site, int(unit), basis=basis, at=int(position))
    gone = model.run("the [MASK] sat on", logits=(2,), interventions=[clamp]).logits[0, 0]
    lost = m - float(gone[3 + WORDS.index("cat")] - gone[3 + WORDS.index("dog")])
    assert measured == pytest.approx(lost, abs=1e-3)


@pytest.mark.parametrize(
    ("prompt", "target", "contrast", "told"),
    [
        ("the cat sat", " on", None, r"Write \[MASK\] where the answer belongs"),
        ("the [MASK] sat", " old cat", None, "one token"),
        ("the [MASK] sat", " zebra", None, "vocabulary"),
        ("the [MASK] sat", " cat", " cat", "departs"),
    ],
)
def test_a_masked_model_refuses_other_questions(folders, prompt, target, contrast, told):
    model = pc.load(folders("bert"))
    with pytest.raises(PatchclampError, match=told):
        pc.explain(model, prompt, target, contrast=contrast)


def test_a_masked_answer_against_a_corrupted_prompt(folders):
    model = pc.load(folders("bert"))
    found = pc.explain(model, "the [MASK] sat on", " cat", counterpart="the [MASK] ran on", top=3)
    clean, other = (
        model.run(p, logits=(2,)).logits[0, 0, 3 + WORDS.index("cat")]
        for p in ("the [MASK] sat on", "the [MASK] ran on")
    )
    assert found.metric_clean - found.metric_baseline == pytest.approx(float(clean - other), abs=1e-4)


def test_explain_a_mixture_by_heads_and_dense_neurons(folders, say):
    code, found = say(
        "explain", folders("qwen3_moe"), "the old cat", "--target", " sat", "--contrast", " ran", "--top", 4
    )
    assert code == 0
    assert len(found["causes"]) == 4
    code, found = say("explain", folders("qwen3_moe"), "the cat", "--target", " sat", "--method", "relp")
    assert code == 2
    assert "derived" in found["error"]["expected"]


# -- experts ----------------------------------------------------------------------------------------------------------


def test_an_expert_has_rows_for_the_tokens_routed_to_it_and_for_no_others(folders):
    model = pc.load(folders("qwen3_moe"))
    prompts = [[3, 14, 15, 9, 26, 5], [35, 8, 9, 7]]
    r = model.run(prompts, record="blocks.1.*", padding="left").recording
    chosen = r["blocks.1.mlp.router"].topk(2).indices
    seen = np.zeros(10, dtype=int)
    for e in range(4):
        site = f"blocks.1.mlp.experts.{e}.act"
        expected = (chosen == e).any(-1).nonzero().flatten().tolist()
        assert r.rows[site].tolist() == expected
        assert r[site].shape == (len(expected), 24)
        assert r[site].isfinite().all()
        seen[r.rows[site]] += 1
        for s, start, n in ((0, 0, 6), (1, 6, 4)):
            places = [t - start for t in expected if start <= t < start + n]
            assert r.positions(site, s).tolist() == places
            assert len(r.of(site, s)) == len(places)
            for p in range(n):
                if p in places:
                    assert r.at(f"{site}/neurons/5@{p}", s) == r.of(site, s)[places.index(p), 5]
                else:
                    with pytest.raises(PatchclampError, match="router"):
                        r.at(f"{site}/neurons/5@{p}", s)
    assert (seen == 2).all()


@pytest.mark.parametrize("kind", ["grouped_mm", "batched_mm"])
def test_clamping_an_expert_adds_what_its_neuron_writes_times_its_share(folders, kind):
    model = pc.load(folders("qwen3_moe"))
    model.module.set_experts_implementation(kind)
    ids = [3, 14, 15, 9, 26, 5]
    plain = model.run([ids], record="blocks.1.*").recording
    router, experts = plain["blocks.1.mlp.router"], model.module.model.layers[1].mlp.experts
    for e in range(4):
        site = f"blocks.1.mlp.experts.{e}.act"
        edit = pc.change("add", site, 7, value=2.0)
        moved = model.run([ids], record="blocks.1.mlp.write", interventions=[edit]).recording["blocks.1.mlp.write"]
        best, which = router.softmax(-1).topk(2)
        share = torch.where(which == e, best / best.sum(-1, keepdim=True), 0.0).sum(-1)
        expected = 2.0 * share[:, None] * experts.down_proj[e][:, 7]
        assert torch.allclose(moved - plain["blocks.1.mlp.write"], expected, atol=1e-5)
    metric = pc.Metric("logit", (7,))
    found = model.differentiate([ids], metric, "blocks.1.mlp.experts.*,blocks.1.mlp.write")
    for e in range(4):
        site = f"blocks.1.mlp.experts.{e}.act"
        rows = found.gradients.rows[site]
        best, which = router.softmax(-1).topk(2)
        share = torch.where(which == e, best / best.sum(-1, keepdim=True), 0.0).sum(-1)[rows]
        chained = share[:, None] * (found.gradients["blocks.1.mlp.write"][rows] @ experts.down_proj[e])
        assert torch.allclose(found.gradients[site], chained, atol=1e-5)


def test_what_cannot_be_done_with_experts_is_told(folders, say, story, tmp_path):
    model = pc.load(folders("qwen3_moe"))
    site = "blocks.1.mlp.experts.0.act"
    donor = model.run([[3, 14, 15]], record=site).recording
    with pytest.raises(CannotIntervene, match="other tokens"):
        model.run([[3, 14, 15]], interventions=[pc.change("patch", site, source=donor)])
    with pytest.raises(CannotIntervene, match="only be read"):
        model.run([[3, 14, 15]], interventions=[pc.change("ablate", "blocks.1.mlp.router")])
    words = ("--inputs", story, "--sites", site, "--out", tmp_path / "out")
    code, found = say("record", folders("qwen3_moe"), *words)
    assert code == 2
    assert "only some tokens" in found["error"]["got"]
    model.module.set_experts_implementation("eager")
    with pytest.raises(CannotIntervene, match="grouped_mm"):
        model.run([[3, 14, 15]], record=site)
    assert model.run([[3, 14, 15]], record="blocks.1.mlp.router").recording["blocks.1.mlp.router"].shape == (3, 4)


def test_the_families_are_listed(say):
    code, found = say("info", "--families")
    assert code == 0
    assert found["families"]["bert"]["classes"] == ["BertForMaskedLM"]
    assert len(found["parts"]) == 11


def test_a_model_without_a_family_says_so_and_what_works(tmp_path, capsys):
    from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 61, "n_positions": 16}
    GPTBigCodeForCausalLM(GPTBigCodeConfig(**sizes)).save_pretrained(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "missing: canonical sites: no family file covers GPTBigCodeForCausalLM" in told
    for works in ("record", "explain with --level", "generate with --clamp", "atlas bake with --sites"):
        assert works in told.partition("what works at module sites")[2]


def test_what_lies_at_no_site_of_a_family_is_said_with_its_reason(folders, say):
    code, found = say("info", folders("llama4"))
    assert code == 0
    missing = dict(found["capabilities"]["missing"])
    assert "no module shows them" in missing["neurons of single experts"]
    kinds = {site["path"].removeprefix("blocks.1.") for site in found["sites"]}
    assert {"mlp.router", "mlp.shared.act", "mlp.write"} <= kinds
    _, listed = say("info", "--families")
    assert "output gate" in listed["families"]["qwen3_next"]["lacks"]["rule half"]
