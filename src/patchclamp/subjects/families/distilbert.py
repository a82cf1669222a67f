"""DistilBERT: BERT with the head's steps beside the encoder, without types of segments."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import bert
from patchclamp.subjects.families.spec import attention_sites, enlarge, mlp_sites


def tiny() -> Any:
    """Make a 2-layer random DistilBERT of width 32."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    config = DistilBertConfig(
        n_layers=2, dim=32, n_heads=4, hidden_dim=64, vocab_size=61, max_position_embeddings=64, pad_token_id=59
    )
    return enlarge(DistilBertForMaskedLM(config), weight=0.3)


FAMILY = replace(
    bert.FAMILY,
    name="distilbert",
    classes=("DistilBertForMaskedLM",),
    blocks="distilbert.transformer.layer",
    final="vocab_layer_norm",
    block={
        **attention_sites("attention", "out_lin"),
        "resid_mid": Place("sa_layer_norm", "out"),
        **mlp_sites("ffn", pre="lin1", act="lin2"),
    },
    nonlinearity="ffn.activation",
    readers=("attention.q_lin", "attention.k_lin", "attention.v_lin", "ffn.lin1"),
    sum_norms=("sa_layer_norm", "output_layer_norm"),
    widths=dict.fromkeys(("mlp.pre", "mlp.act"), lambda config: config.hidden_dim),
    misfit=lambda config: "its MLP runs in chunks of positions" if config.chunk_size_feed_forward else "",
    head=("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    head_nonlinearity="activation",
    tiny=tiny,
)
