"""RoBERTa: BERT whose positions are counted from the padding id on, with another head."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import bert
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random RoBERTa of width 32."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    config = RobertaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    return enlarge(RobertaForMaskedLM(config), weight=0.3)


FAMILY = replace(
    bert.FAMILY,
    name="roberta",
    classes=("RobertaForMaskedLM",),
    blocks="roberta.encoder.layer",
    final="lm_head.layer_norm",
    first_position=lambda config: config.pad_token_id + 1,
    head=("lm_head",),
    head_nonlinearity="",
    underived={"identity": "the GELU of its head is a bare function, which nothing can stand in for"},
    tiny=tiny,
)
