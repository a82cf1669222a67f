"""OLMo 1: Llama with layer norms that have no weights, and queries, keys and values clipped by config."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random OLMo of width 32 whose clipping bites."""
    from transformers import OlmoConfig, OlmoForCausalLM

    config = OlmoConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        clip_qkv=1.0,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(OlmoForCausalLM(config), weight=0.3)


FAMILY = replace(llama.FAMILY, name="olmo", classes=("OlmoForCausalLM",), tiny=tiny)
