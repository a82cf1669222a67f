"""GPT-OSS: a mixture of experts with biases and a clamped gate; attention sinks; windows in every other block."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import mixtral
from patchclamp.subjects.families.spec import enlarge, expert_sites


def tiny() -> Any:
    """Make a 2-layer random GPT-OSS of width 32; window and clamp are small enough to bite."""
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=24,
        num_local_experts=4,
        num_experts_per_tok=2,
        swiglu_limit=1.0,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        vocab_size=61,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(GptOssForCausalLM(config), seed=1, weight=0.3)


FAMILY = replace(
    mixtral.FAMILY,
    name="gpt_oss",
    classes=("GptOssForCausalLM",),
    block={**mixtral.FAMILY.block, **expert_sites("mlp.router", "mlp.experts")},
    nonlinearity="mlp.experts",
    window=lambda module: module.sliding_window,
    excluded={4: "a learned sink takes a share of every row; part 9 checks what is left"},
    tiny=tiny,
)
