"""Qwen 3 Next: Qwen 3.5's blocks with Qwen 2's mixture of experts, and one that every token meets."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import qwen2_moe, qwen3_5
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Qwen 3 Next of width 32: a gated delta rule with a dense MLP, attention with 4 experts."""
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    config = Qwen3NextConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=40,
        num_experts=4,
        num_experts_per_tok=2,
        mlp_only_layers=[0],
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        **qwen3_5.LINEAR,
    )
    return enlarge(Qwen3NextForCausalLM(config), weight=0.3)


FAMILY = replace(
    qwen3_5.FAMILY,
    name="qwen3_next",
    classes=("Qwen3NextForCausalLM",),
    block={
        **qwen3_5.FAMILY.block,
        **{kind: place for kind, place in qwen2_moe.FAMILY.block.items() if kind.startswith("mlp.")},
    },
    varying=qwen3_5.FAMILY.varying | qwen2_moe.FAMILY.varying,
    widths={**qwen3_5.FAMILY.widths, **qwen2_moe.FAMILY.widths},
    shared_gate=qwen2_moe.FAMILY.shared_gate,
    tiny=tiny,
)
