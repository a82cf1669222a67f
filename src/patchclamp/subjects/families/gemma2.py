"""Gemma 2: norms before and after each sublayer, soft-caps on scores and logits, sliding windows, gated MLP."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 3-layer random Gemma 2 of width 32; caps and window are small enough to bite."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        query_pre_attn_scalar=8,
        sliding_window=6,
        attn_logit_softcapping=4.0,
        final_logit_softcapping=5.0,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Gemma2ForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="gemma2",
    classes=("Gemma2ForCausalLM",),
    block={
        **llama.FAMILY.block,
        "attn.write": Place("post_attention_layernorm", "out"),
        "resid_mid": Place("pre_feedforward_layernorm", "in", shared=True),
        "mlp.write": Place("post_feedforward_layernorm", "out"),
    },
    entry_norms=("input_layernorm", "pre_feedforward_layernorm"),
    exit_norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    gain=lambda norm: 1 + norm.weight,
    logit_cap="final_logit_softcapping",
    score_cap="attn_logit_softcapping",
    tiny=tiny,
)
