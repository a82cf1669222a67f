"""Cohere 2 (Command R7B): Cohere with windows; blocks without one have no positions."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import cohere
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Cohere 2 of width 32; the first block's window is shorter than the probes."""
    from transformers import Cohere2Config, Cohere2ForCausalLM

    config = Cohere2Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        logit_scale=0.5,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Cohere2ForCausalLM(config), weight=0.3)


FAMILY = replace(cohere.FAMILY, name="cohere2", classes=("Cohere2ForCausalLM",), tiny=tiny)
