"""BERT: bidirectional, post-norm (the stream itself is normed after each addition), a head of several steps."""

from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge


def tiny() -> Any:
    """Make a 2-layer random BERT of width 32."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=61,
        max_position_embeddings=64,
        pad_token_id=59,
    )
    return enlarge(BertForMaskedLM(config), weight=0.3)


def misfit(config: Any) -> str:
    """Return how a config departs."""
    if config.is_decoder:
        return "it is built as a decoder"
    return "its MLP runs in chunks of positions" if config.chunk_size_feed_forward else ""


FAMILY = Family(
    name="bert",
    classes=("BertForMaskedLM",),
    blocks="bert.encoder.layer",
    final="cls.predictions.transform.LayerNorm",
    block={
        **attention_sites("attention.self", ""),
        "attn.z": Place("attention.output.dense", "in"),
        "attn.write": Place("attention.output.dense", "out"),
        "resid_mid": Place("attention", "out"),
        "mlp.pre": Place("intermediate.dense", "out"),
        "mlp.act": Place("output.dense", "in"),
        "mlp.write": Place("output.dense", "out"),
    },
    nonlinearity="intermediate.intermediate_act_fn",
    entry_norms=(),
    readers=("attention.self.query", "attention.self.key", "attention.self.value", "intermediate.dense"),
    sum_norms=("attention.output.LayerNorm", "output.LayerNorm"),
    causal=False,
    misfit=misfit,
    head=("cls",),
    head_nonlinearity="cls.predictions.transform.transform_act_fn",
    tiny=tiny,
)
