"""Mistral: Llama with a sliding window."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Mistral of width 32 whose window is shorter than the probes."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        sliding_window=4,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(MistralForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="mistral",
    classes=("MistralForCausalLM",),
    window=lambda module: module.config.sliding_window,
    tiny=tiny,
)
