"""Mamba 1: no attention and no MLP, every block one gated state-space mixer.

``ssm.in`` and ``ssm.gate`` are the two sides of its input projection, ``ssm.conv`` the channels after the convolution,
which the scan reads, ``ssm.z`` the gated scan, ``ssm.write`` what is added. The state itself passes no module.
"""

from typing import Any

from patchclamp.subjects.engine import Chunk, Place
from patchclamp.subjects.families.spec import Family, enlarge


def tiny() -> Any:
    """Make a 2-layer random Mamba of width 32."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        state_size=4,
        conv_kernel=3,
        vocab_size=61,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(MambaForCausalLM(config), weight=0.3)


def inner_width(config: Any) -> int:
    """Return the number of channels of the mixer."""
    given = getattr(config, "intermediate_size", None)
    return int(config.expand * config.hidden_size if given is None else given)


WHY = "the state-space mixer has no rule"

FAMILY = Family(
    name="mamba",
    classes=("MambaForCausalLM",),
    blocks="backbone.layers",
    final="backbone.norm_f",
    block={
        "ssm.in": Chunk("mixer.in_proj", "out", index=0),
        "ssm.gate": Chunk("mixer.in_proj", "out", index=1),
        "ssm.conv": Place("mixer.x_proj", "in", shared=True),
        "ssm.z": Place("mixer.out_proj", "in"),
        "ssm.write": Place("mixer", "out"),
    },
    nonlinearity="",
    entry_norms=("norm",),
    positions=False,
    widths=dict.fromkeys(("ssm.in", "ssm.gate", "ssm.conv", "ssm.z"), inner_width),
    excluded={
        4: "no block has attention",
        9: "no block has attention",
        11: "no block has heads or an MLP that could read it, so there are no edges",
    },
    underived={"identity": WHY, "half": WHY, "ah": WHY},
    tiny=tiny,
)
