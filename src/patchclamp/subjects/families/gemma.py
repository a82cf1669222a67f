"""Gemma 1: Llama with a gain of 1 + weight in its norms, and a GELU as its gate."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Gemma of width 32 with one key-value head, and heads together wider than the stream."""
    from transformers import GemmaConfig, GemmaForCausalLM

    config = GemmaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=12,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(GemmaForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="gemma",
    classes=("GemmaForCausalLM",),
    gain=lambda norm: 1 + norm.weight,
    misfit=lambda config: "its attention looks both ways" if config.use_bidirectional_attention else "",
    tiny=tiny,
)
