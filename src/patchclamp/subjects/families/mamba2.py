"""Mamba 2: Mamba with the state in heads and a norm behind the gated scan.

``ssm.in`` is what enters the convolution (channels, then what the state is written and read by), ``ssm.scan`` the scan
before its gate. The convolution's output passes no module, nor does the state.
"""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place, Slice
from patchclamp.subjects.families import mamba
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Mamba 2 of width 32 with 8 heads; the chunks are shorter than the probes."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    config = Mamba2Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_heads=8,
        head_dim=8,
        n_groups=2,
        state_size=4,
        conv_kernel=3,
        chunk_size=4,
        vocab_size=61,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Mamba2ForCausalLM(config), weight=0.3)


def entering(config: Any) -> tuple[int, int]:
    """Return where in the input projection's output lies what enters the convolution."""
    first = mamba.inner_width(config)
    return first, 2 * first + 2 * config.n_groups * config.state_size


FAMILY = replace(
    mamba.FAMILY,
    name="mamba2",
    classes=("Mamba2ForCausalLM",),
    block={
        "ssm.gate": Slice("mixer.in_proj", "out", bounds=lambda config: (0, mamba.inner_width(config))),
        "ssm.in": Slice("mixer.in_proj", "out", bounds=entering),
        "ssm.scan": Place("mixer.norm", "in"),
        "ssm.z": Place("mixer.out_proj", "in"),
        "ssm.write": Place("mixer", "out"),
    },
    widths={
        **dict.fromkeys(("ssm.gate", "ssm.scan", "ssm.z"), mamba.inner_width),
        "ssm.in": lambda config: entering(config)[1] - entering(config)[0],
    },
    tiny=tiny,
)
