"""Qwen 3 with a mixture of experts in some blocks or all: a router sends every token to a few small gated MLPs."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import qwen3
from patchclamp.subjects.families.spec import EXPERT_WIDTHS, UNDERIVED_EXPERTS, enlarge, expert_sites


def tiny() -> Any:
    """Make a 2-layer random Qwen 3 of width 32: a dense MLP, then 4 experts of which each token meets 2."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        moe_intermediate_size=24,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[0],
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(Qwen3MoeForCausalLM(config), weight=0.3)


MIXED = expert_sites("mlp.gate", "mlp.experts")

FAMILY = replace(
    qwen3.FAMILY,
    name="qwen3_moe",
    classes=("Qwen3MoeForCausalLM",),
    block={
        **{k: p for k, p in qwen3.FAMILY.block.items() if k != "mlp.write"},
        **MIXED,
        "mlp.write": Place("mlp", "out"),
    },
    varying=frozenset({"mlp.pre", "mlp.up", "mlp.act", *MIXED}),
    widths=EXPERT_WIDTHS,
    underived=UNDERIVED_EXPERTS,
    tiny=tiny,
)
