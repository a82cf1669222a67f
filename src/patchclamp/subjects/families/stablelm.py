"""StableLM: Llama with layer norms, rotary over a part of each head, and norms of queries and keys by config."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny(*, parallel: bool = False) -> Any:
    """Make a 2-layer random StableLM of width 32, half of each head rotated."""
    from transformers import StableLmConfig, StableLmForCausalLM

    config = StableLmConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        use_parallel_residual=parallel,
        qk_layernorm=parallel,
        use_qkv_bias=not parallel,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(StableLmForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="stablelm",
    classes=("StableLmForCausalLM",),
    misfit=lambda config: "its MLP reads what its attention read" if config.use_parallel_residual else "",
    tiny=tiny,
)
