"""EXAONE 4: OLMo 2's norms after attention and MLP only; windows in some blocks, no rotary positions in the others."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import olmo2
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random EXAONE 4 of width 32: one block has a window and rotary positions, the other neither."""
    from transformers import Exaone4Config, Exaone4ForCausalLM

    config = Exaone4Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Exaone4ForCausalLM(config), weight=0.3)


FAMILY = replace(
    olmo2.FAMILY,
    name="exaone4",
    classes=("Exaone4ForCausalLM",),
    window=lambda module: module.sliding_window if module.is_sliding else None,
    tiny=tiny,
)
