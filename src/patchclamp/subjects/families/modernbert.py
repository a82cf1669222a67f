"""ModernBERT: bidirectional, pre-norm (the first block's attention reads without one), rotary, windows to both sides,
gated MLP, and a head of several steps behind the last norm.
"""

from typing import Any

from patchclamp.subjects.engine import Chunk, Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge


def tiny() -> Any:
    """Make a 3-layer random ModernBERT of width 32; the second block's window is shorter than the probes."""
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    config = ModernBertConfig(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        local_attention=4,
        vocab_size=61,
        max_position_embeddings=64,
        pad_token_id=59,
        bos_token_id=0,
        eos_token_id=60,
        cls_token_id=0,
        sep_token_id=60,
    )
    return enlarge(ModernBertForMaskedLM(config), weight=0.3)


FAMILY = Family(
    name="modernbert",
    classes=("ModernBertForMaskedLM",),
    blocks="model.layers",
    final="head.norm",
    block={
        **attention_sites("attn", "Wo"),
        "resid_mid": Place("mlp_norm", "in", shared=True),
        "mlp.pre": Chunk("mlp.Wi", "out", index=0),
        "mlp.up": Chunk("mlp.Wi", "out", index=1),
        "mlp.act": Place("mlp.Wo", "in"),
        "mlp.write": Place("mlp", "out"),
    },
    nonlinearity="mlp.act",
    entry_norms=("attn_norm", "mlp_norm"),
    scale=lambda module: module.head_dim**-0.5,
    causal=False,
    head=("model.final_norm", "head", "decoder"),
    head_norms=("model.final_norm",),
    head_nonlinearity="head.act",
    tiny=tiny,
)
