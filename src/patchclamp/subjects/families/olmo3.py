"""OLMo 3: OLMo 2 with a window in three of four blocks."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import olmo2
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random OLMo 3 of width 32; the first block's window is shorter than the probes."""
    from transformers import Olmo3Config, Olmo3ForCausalLM

    config = Olmo3Config(
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
    return enlarge(Olmo3ForCausalLM(config), weight=0.3)


FAMILY = replace(olmo2.FAMILY, name="olmo3", classes=("Olmo3ForCausalLM",), tiny=tiny)
