"""SmolLM 3: Llama without rotary positions in some blocks, and windows where the config asks for them."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 3-layer random SmolLM 3 of width 32: one block has a window, the last no rotary positions."""
    from transformers import SmolLM3Config, SmolLM3ForCausalLM

    config = SmolLM3Config(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        no_rope_layers=[1, 1, 0],
        use_sliding_window=True,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(SmolLM3ForCausalLM(config), weight=0.3)


def window(module: Any) -> int | None:
    """Return how far back a block looks: the mask goes by its type alone."""
    sliding = module.config.layer_types[module.layer_idx] == "sliding_attention"
    return module.config.sliding_window if sliding else None


FAMILY = replace(llama.FAMILY, name="smollm3", classes=("SmolLM3ForCausalLM",), window=window, tiny=tiny)
