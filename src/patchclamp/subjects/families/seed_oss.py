"""Seed-OSS: Llama with biases on queries, keys and values, and heads of a width of their own."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Seed-OSS of width 32 whose heads together are wider than the stream."""
    from transformers import SeedOssConfig, SeedOssForCausalLM

    config = SeedOssConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(SeedOssForCausalLM(config), weight=0.3)


FAMILY = replace(llama.FAMILY, name="seed_oss", classes=("SeedOssForCausalLM",), tiny=tiny)
