"""Ministral: Mistral with a window in some blocks only."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Ministral of width 32; the first block's window is shorter than the probes."""
    from transformers import MinistralConfig, MinistralForCausalLM

    config = MinistralConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(MinistralForCausalLM(config), weight=0.3)


FAMILY = replace(llama.FAMILY, name="ministral", classes=("MinistralForCausalLM",), tiny=tiny)
