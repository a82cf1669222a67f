"""Gemma 3, text: Gemma 2 with norms on queries and keys instead of a soft-cap on scores."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import gemma2
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Gemma 3 of width 32; the first block's window is shorter than the probes."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        query_pre_attn_scalar=8,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        final_logit_softcapping=5.0,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Gemma3ForCausalLM(config), weight=0.3)


FAMILY = replace(
    gemma2.FAMILY,
    name="gemma3",
    classes=("Gemma3ForCausalLM",),
    score_cap="",
    misfit=lambda config: "its attention looks both ways" if config.use_bidirectional_attention else "",
    tiny=tiny,
)
