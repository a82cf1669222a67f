"""Every family keeps the contract, and the mappings that people get wrong are rejected."""

import json
import os
from dataclasses import replace

import pytest
import torch
import transformers

from every_family import CHOSEN, EVERY, WHOLE
from patchclamp.core.errors import PatchclampError
from patchclamp.report.terminal.contract import show_verdicts
from patchclamp.subjects import residual_edges
from patchclamp.subjects.contract import readers, results, verify
from patchclamp.subjects.contract.kinds import tokens
from patchclamp.subjects.contract.kinds.tokens import PARTS, Tokens, draw_stimuli
from patchclamp.subjects.contract.laws import model_fingerprint
from patchclamp.subjects.contract.part import Part, Verdict
from patchclamp.subjects.engine import Expert, Place, Scaled
from patchclamp.subjects.families import deepseek_v3, gemma2, llama
from patchclamp.subjects.families.spec import Family, family, family_names, family_of, find_covering
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.moe import largest_shares

RESULTS = results.FOLDER / results.FILE


def rejected(number, wrong, model):
    """Return by how much a wrong mapping breaks a part; a break that is only a crash does not count."""
    found = verify.deviation(PARTS[number - 1], LanguageModel(model, family=wrong))
    assert found < float("inf"), "the mapping must be seen to be wrong, not just to fail"
    return found


def with_family(monkeypatch, other):
    """Let every family name of text mean one family."""
    kind = replace(tokens.KIND, family=lambda name: other)
    monkeypatch.setattr(verify, "kinds", lambda: (kind,))


def test_the_contract_has_eleven_parts_and_the_five_families():
    assert len(PARTS) == 11
    assert set(family_names()) >= {"gpt2", "llama", "gemma2", "gpt_neox", "gptj"}


@pytest.mark.parametrize("name", family_names())
def test_a_family_keeps_the_contract_and_a_wrong_mapping_is_accepted_nowhere(name):
    found = {v.name: v for v in verify.verify_family(name)}
    assert found["native, every site recorded"].deviation == 0.0
    assert 9 in family(name).excluded or found["tap against eager"].deviation == 0.0
    parts = [(found[f"{number}. {part.name}"], part.limit) for number, part in enumerate(PARTS, 1)]
    assert {i: v.excluded for i, (v, _) in enumerate(parts, 1) if v.excluded} == dict(family(name).excluded)
    apply = [(v, limit) for v, limit in parts if not v.excluded]
    assert {v.name: v.deviation for v, limit in apply if not v.deviation <= limit} == {}
    assert {v.name: v.rejected for v, limit in apply if v.rejected is None or not v.rejected > limit} == {}
    assert all(v.passed for v in found.values())
    lacks = family(name).lacking(family(name).tiny())
    new = results.result_row(family(name).classes, [v for v, _ in parts], lacks)
    if os.environ.get("PATCHCLAMP_REWRITE") == "1":
        rewrite(name, new)
    assert results.changed_since(results.stored_results()["families"][name], new, [limit for _, limit in parts]) == []


def rewrite(name, new):
    """Put a family's new entry into the file, and take out what is a family no longer."""
    known = results.stored_results()["families"] if RESULTS.exists() else {}
    kept = {n: e for n, e in sorted({**known, name: new}.items()) if n in family_names()}
    parts = [{"name": p.name, "limit": p.limit} for p in PARTS]
    lines = ",\n".join(f"{json.dumps(n)}: {json.dumps(e, ensure_ascii=False)}" for n, e in kept.items())
    RESULTS.write_text(f'{{"parts": {json.dumps(parts, ensure_ascii=False)},\n"families": {{\n{lines}\n}}}}\n')


def test_the_stored_results_name_every_family_and_part():
    found = results.stored_results()
    assert tuple(found["families"]) == family_names()
    assert [(p["name"], p["limit"]) for p in found["parts"]] == [(p.name, p.limit) for p in PARTS]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"classes": ["Other"]}, ["classes"]),
        ({"parts": [{"excluded": "no such thing"}]}, ["part 1: excluded"]),
        ({"parts": [{"deviation": 1e-3, "rejected": 1.0}]}, ["part 1: 1e-07 then, 0.001 now"]),
        ({"parts": [{"deviation": None, "rejected": 1.0}]}, ["part 1: 1e-07 then, None now"]),
        ({"parts": [{"deviation": 5e-7, "rejected": 1.0}]}, []),
    ],
)
def test_what_changed_since_the_stored_results_is_named(changed, told):
    old = {"classes": ["One"], "parts": [{"deviation": 1e-7, "rejected": 1.0}]}
    assert results.changed_since(old, {**old, **changed}, [1e-5]) == told


def test_a_verdict_fails_when_the_law_or_its_wrong_mapping_does():
    good = Verdict("x", 0.0, 1e-5, rejected=1.0)
    assert good.passed
    assert not replace(good, deviation=1e-4).passed
    assert not replace(good, rejected=1e-6).passed
    assert replace(good, deviation=9.0, limit=None).passed


@pytest.mark.parametrize(
    ("gaps", "worst", "first"),
    [
        ((0.1, 0.5, 0.9), 0.9, 0.5),
        ((0.1, 0.2), 0.2, 0.2),
        ((0.1, float("nan")), float("inf"), float("inf")),
        ((), float("inf"), float("inf")),
    ],
)
def test_a_deviation_is_the_worst_or_the_first_above_a_limit_and_infinite_where_nothing_was_compared(
    gaps, worst, first
):
    part = Part("x", lambda probe: iter(gaps), 0.2, lambda f: f)
    model = LanguageModel(llama.tiny())
    assert verify.deviation(part, model) == worst
    assert verify.deviation(part, model, stop_above=part.limit) == first


def test_a_wrong_mapping_that_only_left_padding_shows_is_rejected_too():
    wrong = LanguageModel(family("gpt2").tiny(), family=PARTS[0].make_wrong(family("gpt2")))
    [right] = PARTS[0].check(Tokens(wrong, draw_stimuli(wrong), "right"))
    assert right == 0.0
    assert verify.deviation(PARTS[0], wrong, stop_above=0.0) > 0.1


def test_the_contract_builds_one_tiny_model_and_wrong_mappings_leave_nothing_in_it(monkeypatch):
    made = []

    def tiny():
        made.append(llama.tiny())
        return made[-1]

    counted = replace(llama.FAMILY, tiny=tiny, excluded={5: "slow", 10: "slow"})
    with_family(monkeypatch, counted)
    verify.verify_family("llama")
    [module] = made
    assert model_fingerprint(module) == model_fingerprint(llama.tiny())


@pytest.mark.parametrize("name", family_names())
def test_every_tiny_model_belongs_to_one_family(name):
    model = family(name).tiny()
    assert family_of(model) is family(name)
    assert [other for other in family_names() if find_covering(model, [family(other)])] == [name]


def test_gemma2_writes_taken_before_the_post_norms_break_the_residual_law():
    naive = replace(gemma2.FAMILY, block=llama.FAMILY.block)
    assert rejected(2, naive, gemma2.tiny()) > 0.1


def test_gemma2_without_the_logit_cap_breaks_the_unembedding():
    assert rejected(3, replace(gemma2.FAMILY, logit_cap=""), gemma2.tiny()) > 0.1


def test_gemma2_without_the_score_cap_breaks_the_pattern():
    assert rejected(9, replace(gemma2.FAMILY, score_cap=""), gemma2.tiny()) > 0.01


@EVERY
def test_a_sequential_reading_of_a_parallel_family_breaks_the_residual_law_and_the_reverse(name):
    right = family(name)
    model = right.tiny()
    mid = model.get_submodule(right.blocks)[0]
    names = dict(mid.named_children())
    if right.parallel:
        assert "resid_mid" not in right.block
        norm = next(n for n in ("post_attention_layernorm", "ln_1", "ln_mlp", "input_layernorm") if n in names)
        wrong = replace(right, block={**right.block, "resid_mid": Place(norm, "in", shared=True)})
    else:
        wrong = replace(right, block={**right.block, "resid_mid": Place("", "in")})
    assert rejected(2, wrong, model) > 0.1


def test_left_padded_gpt2_is_wrong_without_position_ids():
    model = LanguageModel(family("gpt2").tiny())
    batch = model.batch(draw_stimuli(model), "left")
    inputs = {"input_ids": batch.ids, "attention_mask": (batch.logical >= 0).long(), "use_cache": False}
    with torch.no_grad():
        naive = batch.rows(model.module(**inputs).logits)
        right = batch.rows(model.module(**inputs, position_ids=batch.logical.clamp(min=0)).logits)
    assert (naive - right).abs().max() > 1
    run = model.run(list(batch.stimuli), padding="left")
    assert torch.equal(model.batch(batch.stimuli).rows(run.logits), right)


def without(name, **changes):
    return replace(family(name), **changes)


def shifted(name):
    """Name every expert's neurons after its neighbour."""

    class Shifted(Family):
        def places(self, model):
            found = super().places(model)
            experts = [path for path, (_, place) in found.items() if isinstance(place, Expert)]
            moved = dict(zip(experts, [*experts[1:], experts[0]], strict=True))
            return {path: (site, found[moved.get(path, path)][1]) for path, (site, _) in found.items()}

    return Shifted(**family(name).__dict__)


def unnormed_shares(router, logits):
    """Return the chosen experts' shares of all, not of one another."""
    return torch.where(largest_shares(router, logits) > 0, logits.softmax(-1), 0.0)


def without_gate(name):
    return without(name, block={kind: p for kind, p in family(name).block.items() if kind != "attn.gate"})


MISTAKES = {
    "mixtral with shares that do not sum to 1": (8, lambda: without("mixtral", shares=unnormed_shares)),
    "qwen 2 moe with its shared expert let through": (8, lambda: without("qwen2_moe", shared_gate="")),
    "deepseek without its factor on shares": (
        8,
        lambda: without("deepseek_v3", shares=lambda r, x: deepseek_v3.shares(r, x) / r.routed_scaling_factor),
    ),
    "gpt-oss without its sinks": (9, lambda: without("gpt_oss", sinks=lambda m: None)),
    "qwen 3.5 without its output gate": (9, lambda: without_gate("qwen3_5")),
    "llama 4 without its chunks": (9, lambda: without("llama4", chunk=lambda m: None)),
    "exaone 4 with its window everywhere": (9, lambda: without("exaone4", window=lambda m: m.sliding_window)),
    "granite read as llama": (2, lambda: without("granite", block=llama.FAMILY.block)),
    "granite without its number under the logits": (3, lambda: without("granite", logit_factor=lambda c: 1.0)),
    "glm-4 read as phi-3": (2, lambda: without("glm4", block=family("phi3").block)),
    "mistral without its window": (9, lambda: without("mistral", window=lambda m: None)),
    "gemma 3 with gemma 2's gain forgotten in the writes": (2, lambda: without("gemma3", block=llama.FAMILY.block)),
    "olmo 2 read as llama": (2, lambda: without("olmo2", block=llama.FAMILY.block)),
    "phi-3 with gate and up exchanged": (
        8,
        lambda: without(
            "phi3",
            block={
                **family("phi3").block,
                "mlp.pre": family("phi3").block["mlp.up"],
                "mlp.up": family("phi3").block["mlp.pre"],
            },
        ),
    ),
    "opt whose queries are scaled twice": (9, lambda: without("opt", scale=lambda m: m.scaling)),
    "bert read as pre-norm": (2, lambda: without("bert", sum_norms=())),
    "bert with its norms exchanged": (2, lambda: without("bert", sum_norms=family("bert").sum_norms[::-1])),
    "bert with a causal mask": (9, lambda: without("bert", causal=True)),
    "bert whose writes may move no earlier position": (10, lambda: without("bert", causal=True)),
    "bert unembedded before the head's own steps": (3, lambda: without("bert", final="bert.encoder.layer.1")),
    "roberta counted from zero": (1, lambda: without("roberta", first_position=lambda config: 0)),
    "experts under their neighbours' names": (8, lambda: shifted("qwen3_moe")),
    "gpt-neo whose scores are scaled": (9, lambda: without("gpt_neo", scale=lambda m: m.head_dim**-0.5)),
    "gpt-neo without its windows": (9, lambda: without("gpt_neo", window=lambda m: None)),
    "bloom without its distances": (9, lambda: without("bloom", score_bias=lambda m, n: None)),
    "bloom whose attention gives what its module gives": (
        2,
        lambda: without("bloom", block={**family("bloom").block, "attn.write": Place("self_attention", "out")}),
    ),
    "modernbert whose windows look back alone": (9, lambda: without("modernbert", causal=True)),
    "modernbert unembedded behind the last norm": (3, lambda: without("modernbert", final="model.final_norm")),
    "bart read as pre-norm": (2, lambda: without("bart", sum_norms=())),
    "cohere without its logit scale": (3, lambda: without("cohere", logit_factor=lambda config: 1.0)),
    "olmo 3 without its window": (9, lambda: without("olmo3", window=lambda m: None)),
    "jamba's mixer left out": (
        2,
        lambda: without("jamba", block={k: p for k, p in family("jamba").block.items() if k != "ssm.write"}),
    ),
}


# `make test` makes no tiny model for mistakes in families whose other tests run in `make families` alone.
LATER = ("gpt-neo", "bloom", "cohere", "olmo 3", "modernbert", "bart")


@pytest.mark.parametrize("mistake", [name for name in MISTAKES if WHOLE or not name.startswith(LATER)])
def test_mistakes_that_people_make_are_rejected(mistake):
    number, wrong = MISTAKES[mistake]
    found = verify.deviation(PARTS[number - 1], LanguageModel(wrong().tiny(), family=wrong()))
    assert found > 0.01
    if mistake != "experts under their neighbours' names":  # other tokens come there, which is infinitely wrong
        assert found < float("inf")


def test_a_part_that_does_not_apply_is_named_with_its_reason(monkeypatch, capsys):
    no_pattern = replace(llama.FAMILY, excluded={9: "no attention", 5: "as a test"})
    with_family(monkeypatch, no_pattern)
    found = verify.verify_family("llama")
    assert [v.excluded for v in found if v.excluded] == ["as a test", "no attention"]
    assert len(found) == 14
    assert all(v.passed for v in found)
    assert results.result_row((), found[3:])["parts"][8] == {"excluded": "no attention"}
    show_verdicts(found, "a test", True)
    assert "not applicable: no attention" in capsys.readouterr().out
    of_model = verify.verify(LanguageModel(llama.tiny(), family=no_pattern))
    assert [v.excluded for v in of_model if v.excluded] == ["no attention"]


def test_a_config_of_the_same_class_that_is_built_otherwise_is_not_covered():
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        num_hidden_layers=1, hidden_size=32, word_embed_proj_dim=16, num_attention_heads=4, ffn_dim=64, vocab_size=61,
        max_position_embeddings=64, do_layer_norm_before=False,
    )  # fmt: skip
    model = LanguageModel(OPTForCausalLM(config))
    assert model.family is None
    assert "OPTForCausalLM where its norms follow the additions" in dict(model.capabilities.missing)["canonical sites"]


def built(name, **options):
    """Make the tiny model of a family with another config."""
    from patchclamp.subjects.families.spec import enlarge

    config = family(name).tiny().config
    config.update(options)
    return enlarge(getattr(transformers, family(name).classes[0])(config), weight=0.3)


def test_experts_keep_the_contract_with_two_threads():
    model = LanguageModel(family("qwen3_moe").tiny())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert max(PARTS[9].check(Tokens(model, draw_stimuli(model), "right"))) == 0.0
    finally:
        torch.set_num_threads(before)


WIRINGS = {
    "gpt2": [
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"add_cross_attention": True},
        {"n_inner": 24},
        {"tie_word_embeddings": False},
    ],
    "gpt_neox": [{"attention_bias": False}, {"use_parallel_residual": False}],
    "opt": [{"layer_norm_elementwise_affine": False}, {"enable_bias": False}],
    "llama": [{"attention_bias": True, "mlp_bias": True}, {"num_key_value_heads": 1}, {"head_dim": 12}],
    "mistral": [{"sliding_window": None}],
    "phi3": [{"sliding_window": None}],
    "qwen2": [{"layer_types": ["sliding_attention", "full_attention"]}],
    "qwen3": [{"attention_bias": True}, {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4}],
    "qwen3_moe": [{"norm_topk_prob": False}, {"mlp_only_layers": []}, {"attention_bias": True}],
    "olmo2": [{"attention_bias": True}],
    "gemma2": [{"attn_logit_softcapping": None, "final_logit_softcapping": None}, {"attention_bias": True}],
    "gemma3": [{"attn_logit_softcapping": 4.0}, {"layer_types": ["full_attention", "full_attention"]}],
    "jamba": [{"mamba_proj_bias": True}, {"attn_layer_offset": 0}],
    "bert": [{"hidden_act": "relu"}],
    "mixtral": [{"sliding_window": None}],
    "gemma": [{"attention_bias": True}],
    "olmoe": [{"norm_topk_prob": True}, {"attention_bias": True}],
    "gpt_oss": [{"attention_bias": False}, {"layer_types": ["full_attention", "sliding_attention"]}],
    "granite": [{"attention_bias": True, "mlp_bias": True}, {"residual_multiplier": 0.22}],
    "qwen2_moe": [{"norm_topk_prob": True, "mlp_only_layers": []}, {"qkv_bias": False}],
    "deepseek_v3": [
        {"q_lora_rank": None},
        {"norm_topk_prob": False, "rope_interleave": False},
        {"attention_bias": True},
        {"first_k_dense_replace": 0},
    ],
    "glm4": [{"attention_bias": False}],
    "exaone4": [{"layer_types": ["full_attention", "full_attention"], "sliding_window": None}],
    "smollm3": [{"use_sliding_window": False, "no_rope_layers": [0, 1, 1], "attention_bias": True, "mlp_bias": True}],
    "ministral": [{"layer_types": ["full_attention", "sliding_attention"]}],
    "ministral3": [{"sliding_window": 4}],
    "qwen3_5": [{"attention_bias": True}, {"layer_types": ["full_attention", "full_attention"]}],
    "qwen3_next": [{"mlp_only_layers": [], "norm_topk_prob": False}],
    "llama4": [
        {"use_qk_norm": False, "attention_bias": True},
        {"moe_layers": []},
        {"floor_scale": 4, "attn_scale": 0.5},
        {"layer_types": ["full_attention", "chunked_attention"]},
    ],
    "gpt_neo": [{"attention_layers": ["local", "global"]}, {"window_size": 2, "intermediate_size": 24}],
    "bloom": [{"n_head": 3, "hidden_size": 48}],
    "falcon": [
        {"new_decoder_architecture": True, "num_kv_heads": 2},
        {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
        {"multi_query": False, "bias": True},
        {"alibi": True},
    ],
    "falcon_sequential": [{"alibi": True}, {"multi_query": True}],
    "phi": [{"qk_layernorm": True}],
    "stablelm": [{"qk_layernorm": True, "use_qkv_bias": False}],
    "stablelm_parallel": [{"qk_layernorm": False}],
    "starcoder2": [{"sliding_window": None, "use_bias": False}],
    "olmo": [{"clip_qkv": None, "attention_bias": True}],
    "olmo3": [{"layer_types": ["full_attention", "sliding_attention"]}],
    "cohere": [{"use_qk_norm": False, "attention_bias": True}],
    "modernbert": [{"layer_types": ["sliding_attention"] * 3}, {"mlp_bias": True, "attention_bias": True}],
    "distilbert": [{"sinusoidal_pos_embds": True, "activation": "relu"}],
    "mamba": [{"use_bias": True, "use_conv_bias": False}, {"residual_in_fp32": False, "intermediate_size": 48}],
    "mamba2": [{"use_bias": True, "n_groups": 1}, {"residual_in_fp32": False}],
    "cohere2": [{"layer_types": ["full_attention", "sliding_attention"], "attention_bias": True}],
}


@pytest.mark.parametrize(("name", "options"), [(name, options) for name in CHOSEN for options in WIRINGS.get(name, [])])
def test_every_law_holds_of_a_model_that_its_config_wires_otherwise(name, options):
    model = LanguageModel(built(name, **options))
    assert model.family is not None
    assert {v.name: v.deviation for v in verify.verify(model) if not v.passed} == {}


UNCOVERED = {
    "opt": [({"_remove_final_layer_norm": True}, "no final norm")],
    "gemma3": [({"use_bidirectional_attention": True}, "both ways")],
    "bert": [({"is_decoder": True}, "decoder"), ({"chunk_size_feed_forward": 1}, "chunks")],
    "roberta": [({"is_decoder": True}, "decoder")],
    "bart": [({"decoder_attention_heads": 2}, "another number of heads")],
    "distilbert": [({"chunk_size_feed_forward": 1}, "chunks")],
    "jamba": [({"num_experts": 2}, "experts")],
    "olmoe": [({"clip_qkv": 8.0}, "clipped")],
    "bloom": [
        ({"apply_residual_connection_post_layernorm": True}, "behind the norms"),
        ({"pretraining_tp": 2, "slow_but_exact": True}, "slices"),
    ],
}


@pytest.mark.parametrize(("name", "options", "why"), [(n, o, w) for n in CHOSEN for o, w in UNCOVERED.get(n, [])])
def test_a_wiring_that_no_file_describes_is_refused_with_its_reason(name, options, why):
    model = LanguageModel(built(name, **options))
    assert model.family is None
    assert why in dict(model.capabilities.missing)["canonical sites"]
    assert verify.verify(model)[0].deviation == 0.0


def test_a_model_wired_otherwise_than_its_families_map_fails_verify():
    sequential = built("gpt_neox", use_parallel_residual=False)
    assert LanguageModel(sequential).family is family("gpt_neox_sequential")
    taken = LanguageModel(sequential, family=family("gpt_neox"))
    failed = {v.name for v in verify.verify(taken) if not v.passed}
    assert failed == {PARTS[10].name}
    parallel = LanguageModel(family("gpt_neox").tiny(), family=family("gpt_neox_sequential"))
    assert PARTS[10].name in {v.name for v in verify.verify(parallel) if not v.passed}


def test_heads_that_do_not_write_what_is_added_fail_verify(monkeypatch):
    model = LanguageModel(llama.tiny())
    monkeypatch.setattr(readers, "head_writes", lambda m, layer, z: 1.01 * residual_edges.head_writes(m, layer, z))
    assert {v.name for v in verify.verify(model) if not v.passed} == {PARTS[10].name}


@pytest.mark.parametrize("name", ["falcon", "falcon_sequential"])
def test_attention_that_is_written_out_is_seen_whichever_function_computes_it(name):
    fused, stepwise = (LanguageModel(family(name).tiny()) for _ in range(2))
    stepwise.module.config._attn_implementation = "eager"
    assert fused.module.config._attn_implementation == "sdpa"
    assert {v.name: v.deviation for v in verify.verify(stepwise) if not v.passed} == {}
    sites = ["blocks.*.attn.*", "blocks.*.resid_out"]
    runs = [model.run([[5, 9, 2, 7]], record=sites).recording for model in (fused, stepwise)]
    for path in runs[0].values:
        torch.testing.assert_close(runs[0][path], runs[1][path], atol=2e-5, rtol=1e-4, msg=path)


def test_a_falcon_whose_distances_are_counted_twice_fails_verify():
    """As transformers' stepwise attention does: its fused one, which is the default, counts them once."""
    model = LanguageModel(built("falcon_sequential", alibi=True))
    assert all(v.passed for v in verify.verify(model))
    model.module.config._attn_implementation = "eager"
    assert {v.name for v in verify.verify(model) if not v.passed} == {PARTS[8].name}


def test_gemma_that_looks_both_ways_is_not_covered():
    model = LanguageModel(built("gemma", use_bidirectional_attention=True))
    assert model.family is None
    assert "both ways" in dict(model.capabilities.missing)["canonical sites"]


def test_half_precision_passes_what_is_right_and_no_wrong_mapping():
    for name in ("llama", "deepseek_v3"):
        module = family(name).tiny().to(torch.bfloat16)
        assert all(v.passed for v in verify.verify(LanguageModel(module)))
        for number in (2, 8):
            wrong = LanguageModel(module, family=PARTS[number - 1].make_wrong(family(name)))
            assert PARTS[number - 1].name in {v.name for v in verify.verify(wrong) if not v.passed}


def test_a_scaled_value_put_back_is_the_modules_own_to_the_bit_and_has_its_gradient():
    raw = torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    place = Scaled("m", "out", factor=0.22)
    own = place.take(raw).requires_grad_(True)
    given = place.give(own, raw)
    assert torch.equal(given, raw)
    [gradient] = torch.autograd.grad(given.sum(), own)
    torch.testing.assert_close(gradient, torch.full_like(raw, 1 / 0.22))


def test_the_files_of_families_are_short():
    folder = results.FOLDER / "families"
    long = {f.name: n for f in folder.glob("*.py") if f.stem != "spec" and (n := len(f.read_text().splitlines())) > 80}
    assert long == {}


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_short_context_is_verified_too(length):
    model = LanguageModel(built("gpt2", n_positions=length))
    assert max(map(len, draw_stimuli(model))) == length
    assert all(v.passed for v in verify.verify(model))


def test_a_hybrid_lists_the_sites_of_each_block():
    model = LanguageModel(family("jamba").tiny())
    kinds = [{s.kind for s in model.sites() if s.layer == i} for i in range(2)]
    assert {"ssm.z", "ssm.write"} <= kinds[0] - kinds[1]
    assert {"attn.z", "attn.pattern", "attn.write"} <= kinds[1] - kinds[0]
    with pytest.raises(PatchclampError, match=r"blocks\.1\.attn"):
        model.run([[1, 2]], record="blocks.0.attn.z")
