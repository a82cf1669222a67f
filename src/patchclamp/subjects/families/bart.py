"""BART's decoder alone: post-norm as BERT, causal, its last norm in its last block; it reads no other text.

It counts positions by columns, whatever the padding, so that prompts of several lengths are padded on the right, and
continued one by one.
"""

from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge


def tiny() -> Any:
    """Make a 2-layer random decoder of BART of width 32."""
    from transformers import BartConfig, BartForCausalLM

    config = BartConfig(
        d_model=32,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
        forced_eos_token_id=None,
    )
    return enlarge(BartForCausalLM(config), weight=0.3)


def misfit(config: Any) -> str:
    """Return how a config departs."""
    same = config.decoder_attention_heads == config.num_attention_heads
    return "" if same else "its decoder has another number of heads than its encoder"


FAMILY = Family(
    name="bart",
    classes=("BartForCausalLM",),
    blocks="model.decoder.layers",
    final="model.decoder.layers.{last}.final_layer_norm",
    block={
        **attention_sites("self_attn", "out_proj"),
        "resid_mid": Place("self_attn_layer_norm", "out"),
        "mlp.pre": Place("fc1", "out"),
        "mlp.act": Place("fc2", "in"),
        "mlp.write": Place("fc2", "out"),
    },
    nonlinearity="activation_fn",
    entry_norms=(),
    readers=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "fc1"),
    sum_norms=("self_attn_layer_norm", "final_layer_norm"),
    positions=False,
    pads_left=False,
    widths=dict.fromkeys(("mlp.pre", "mlp.act"), lambda config: config.decoder_ffn_dim),
    head=("lm_head",),
    misfit=misfit,
    tiny=tiny,
)
