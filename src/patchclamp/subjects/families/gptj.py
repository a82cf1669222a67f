"""GPT-J: parallel residual, rotary, outside transformers' attention interface (its method is wrapped instead)."""

from typing import Any

from patchclamp.subjects.engine import Place, Tap
from patchclamp.subjects.families.spec import Family, enlarged


def tiny() -> Any:
    """Make a 3-layer random GPT-J of width 32."""
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        n_layer=3, n_embd=32, n_head=4, rotary_dim=4, vocab_size=61, n_positions=64, bos_token_id=0, eos_token_id=60,
    )  # fmt: skip
    return enlarged(GPTJForCausalLM(config), weight=0.3)


FAMILY = Family(
    name="gptj",
    classes=("GPTJForCausalLM",),
    blocks="transformer.h",
    final="transformer.ln_f",
    block={
        "attn.q": Tap("attn", "q"),
        "attn.k": Tap("attn", "k"),
        "attn.v": Tap("attn", "v"),
        "attn.pattern": Tap("attn", "pattern"),
        "attn.z": Place("attn.out_proj", "in"),
        "attn.write": Place("attn", "out"),
        "mlp.pre": Place("mlp.fc_in", "out"),
        "mlp.act": Place("mlp.fc_out", "in"),
        "mlp.write": Place("mlp", "out"),
    },
    nonlinearity="mlp.act",
    parallel=True,
    scale=lambda module: float(1 / module.scale_attn),
    attention_method="_attn",
    tuple_output=True,
    tiny=tiny,
)
