"""Qwen 3.5 with a mixture of experts in every block, and one that every token meets."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import qwen3_5, qwen3_next
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Qwen 3.5 of width 32: a gated delta rule, then attention, each with 4 experts."""
    from transformers import Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig

    config = Qwen3_5MoeTextConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=40,
        num_experts=4,
        num_experts_per_tok=2,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        **qwen3_5.LINEAR,
    )
    return enlarge(Qwen3_5MoeForCausalLM(config), weight=0.3)


DENSE = ("mlp.pre", "mlp.up", "mlp.act")

FAMILY = replace(
    qwen3_next.FAMILY,
    name="qwen3_5_moe",
    classes=("Qwen3_5MoeForCausalLM",),
    block={kind: place for kind, place in qwen3_next.FAMILY.block.items() if kind not in DENSE},
    nonlinearity="mlp.shared_expert.act_fn",
    tiny=tiny,
)
