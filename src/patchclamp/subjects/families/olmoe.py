"""OLMoE: Mixtral with norms over all queries and all keys, and shares that need not sum to 1."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import mixtral
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random OLMoE of width 32: 4 experts of which each token meets 2."""
    from transformers import OlmoeConfig, OlmoeForCausalLM

    config = OlmoeConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        num_experts=4,
        num_experts_per_tok=2,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(OlmoeForCausalLM(config), weight=0.3)


FAMILY = replace(
    mixtral.FAMILY,
    name="olmoe",
    classes=("OlmoeForCausalLM",),
    window=lambda module: None,
    misfit=lambda config: "its queries, keys and values are clipped" if config.clip_qkv is not None else "",
    tiny=tiny,
)
