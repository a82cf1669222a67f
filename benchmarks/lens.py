"""Lens: a logit lens and the page's other maps of 64 tokens, beside a bare loop over the same hidden states.

The model has the shape of GPT-2 small. The bare loop is what one writes by hand: hidden states from transformers, then
for each of them the last norm, the unembedding, a softmax and its five largest. The maps of activation and attribution
are those of the page, as its server computes them, on an atlas of one block's heads.
"""

import tempfile
from pathlib import Path
from typing import Any

import shape
import timing
import torch

TOKENS, TOP = 64, 5
MAPS = ("activation", "attribution")


def main() -> None:
    options = timing.parser(__doc__, rounds=5).parse_args()
    rounds, n_tokens = (1, 8) if options.quick else (options.rounds, TOKENS)
    torch.set_num_threads(options.threads)
    model = shape.subject()
    ids = list(range(100, 100 + n_tokens))
    sites = ["blocks.0.resid_in", *(f"blocks.{i}.resid_out" for i in range(shape.N_LAYERS))]
    tasks = {
        "forward pass alone": lambda: model.run([ids], record=sites, logits=False),
        "bare loop": lambda: bare_loop(model.module, ids),
        "logit_lens": lambda: model.logit_lens(ids, top=TOP, target=7),
    }
    with tempfile.TemporaryDirectory() as folder:
        tasks |= maps(model, Path(folder), " ".join(f"w{id}" for id in ids))
        timing.alternate(tasks, 1)
        spent = timing.alternate(tasks, rounds)
    middle = {name: timing.median(those) for name, those in spent.items()}
    ratio = timing.ratio(spent["logit_lens"], spent["bare loop"])
    timing.show(
        [f"{shape.N_LAYERS + 1} sites, {n_tokens} tokens", "wall ms", "cpu ms"],
        [[name, f"{1e3 * one.wall_s:.0f}", f"{1e3 * one.cpu_s:.0f}"] for name, one in middle.items()],
    )
    after = {name: one.wall_s - middle["forward pass alone"].wall_s for name, one in middle.items()}
    bars = [
        timing.Bar("logit_lens / bare loop, wall", ratio.wall_s, "<=", 1.0),
        *(timing.Bar(f"{name} after the forward pass, s", after[name], "<=", 1.0) for name in ("logit_lens", *MAPS)),
    ]
    timing.report(options, middle, bars)


def maps(model: Any, folder: Path, text: str) -> dict[str, Any]:
    """Return what computes each of the page's maps of a text."""
    import patchclamp as pc
    from patchclamp.atlas.lab import Lab
    from patchclamp.atlas.lab.heat import read_heat
    from patchclamp.atlas.lab.heat_messages import HeatAsked

    source = shape.write_text(folder / "text.txt", 200)
    pc.atlas.bake_atlas(model, source, folder / "atlas", sites="blocks.0.attn.z/heads")
    reading = pc.atlas.open(folder / "atlas").reading
    lab = Lab(model, reading)
    return {of: lambda of=of: read_heat(lab, reading, HeatAsked(text, of)) for of in MAPS}


def bare_loop(module: Any, ids: list[int]) -> list[Any]:
    """Return the five likeliest next tokens of every hidden state, one state at a time."""
    with torch.no_grad():
        states = module(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
        norm = module.transformer.ln_f
        return [
            module.lm_head(state if i == len(states) - 1 else norm(state)).softmax(-1).topk(TOP)
            for i, state in enumerate(states)
        ]


if __name__ == "__main__":
    main()
