"""Qwen 2 with a mixture of experts, beside it one that every token meets, let through by a gate of its own."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import qwen3_moe
from patchclamp.subjects.families.spec import EXPERT_WIDTHS, enlarge, shared_sites


def tiny() -> Any:
    """Make a 2-layer random Qwen 2 of width 32: a dense MLP, then 4 experts of which each token meets 2 and one."""
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    config = Qwen2MoeConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=40,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=False,
        mlp_only_layers=[0],
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(Qwen2MoeForCausalLM(config), weight=0.3)


SHARED = shared_sites("mlp.shared_expert", flat=True)

FAMILY = replace(
    qwen3_moe.FAMILY,
    name="qwen2_moe",
    classes=("Qwen2MoeForCausalLM",),
    block={**qwen3_moe.FAMILY.block, **SHARED, "mlp.write": qwen3_moe.FAMILY.block["mlp.write"]},
    varying=qwen3_moe.FAMILY.varying | set(SHARED),
    widths={**EXPERT_WIDTHS, **dict.fromkeys(SHARED, lambda config: config.shared_expert_intermediate_size)},
    shared_gate="mlp.shared_expert_gate",
    tiny=tiny,
)
