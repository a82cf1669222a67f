"""DeepSeek V3 and R1: queries, keys and values through latent vectors; experts chosen by groups after dense blocks."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from patchclamp.subjects.families import qwen3_moe
from patchclamp.subjects.families.spec import EXPERT_WIDTHS, enlarge, shared_sites


def tiny() -> Any:
    """Make a 2-layer random DeepSeek of width 32: a dense MLP, then 8 experts in 4 groups, of which 2 are open."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=48,
        moe_intermediate_size=24,
        n_routed_experts=8,
        n_group=4,
        topk_group=2,
        num_experts_per_tok=3,
        n_shared_experts=2,
        first_k_dense_replace=1,
        q_lora_rank=20,
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=6,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    model = enlarge(DeepseekV3ForCausalLM(config), seed=3, weight=0.3)
    model.model.layers[1].mlp.gate.e_score_correction_bias.copy_(torch.linspace(-0.2, 0.2, 8))
    return model


def shares(router: Any, logits: Tensor) -> Tensor:
    """Return each expert's share: the sigmoids of the chosen ones, which lie in the groups of the largest pairs."""
    scores = logits.float().sigmoid()
    grouped = (scores + router.e_score_correction_bias).unflatten(-1, (router.num_group, -1))  # (token, group, expert)
    opened = grouped.topk(2, dim=-1)[0].sum(-1).topk(router.topk_group, dim=-1)[1]
    shut = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter(-1, opened, False)
    chosen = grouped.masked_fill(shut[..., None], -torch.inf).flatten(-2).topk(router.top_k, dim=-1)[1]
    share = torch.zeros_like(scores).scatter(-1, chosen, scores.gather(-1, chosen))
    return router.routed_scaling_factor * (share / share.sum(-1, keepdim=True) if router.norm_topk_prob else share)


SHARED = shared_sites("mlp.shared_experts")

FAMILY = replace(
    qwen3_moe.FAMILY,
    name="deepseek_v3",
    classes=("DeepseekV3ForCausalLM",),
    block={**qwen3_moe.FAMILY.block, **SHARED, "mlp.write": qwen3_moe.FAMILY.block["mlp.write"]},
    varying=qwen3_moe.FAMILY.varying | set(SHARED),
    widths={
        **EXPERT_WIDTHS,
        **dict.fromkeys(SHARED, lambda config: config.n_shared_experts * config.moe_intermediate_size),
        **dict.fromkeys(("attn.q", "attn.k"), lambda config: config.num_attention_heads * config.qk_head_dim),
        **dict.fromkeys(("attn.v", "attn.z"), lambda config: config.num_attention_heads * config.v_head_dim),
    },
    shares=shares,
    tiny=tiny,
)
