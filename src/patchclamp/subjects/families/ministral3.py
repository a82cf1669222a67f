"""Ministral 3: Mistral whose queries grow with their position, before they meet the keys."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import mistral
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Ministral 3 of width 32 whose queries grow from the fourth position on."""
    from transformers import Ministral3Config, Ministral3ForCausalLM

    config = Ministral3Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        sliding_window=None,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 16.0,
            "llama_4_scaling_beta": 0.3,
            "original_max_position_embeddings": 4,
        },
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Ministral3ForCausalLM(config), weight=0.3)


FAMILY = replace(mistral.FAMILY, name="ministral3", classes=("Ministral3ForCausalLM",), tiny=tiny)
