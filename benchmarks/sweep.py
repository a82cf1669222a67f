"""Sweep: activation patching at every layer and position, against one forward pass per cell.

Each of 12 x 15 cells replaces the residual stream before one block at one position by its value under another prompt
and reads a logit difference. patchclamp restarts at the block, batches the cells and unembeds one position; the naive
way runs the whole model once per cell with a hook written by hand. Both must give the same bits. (A matrix product of
fewer than about ten rows may take another path in the processor's library and differ in its last bit, so a sweep of so
few cells per layer may too.)
"""

import shape
import timing
import torch
from torch import Tensor

from patchclamp.core.intervention import Intervention, Source, Span
from patchclamp.core.metric import Metric

TARGET, CONTRAST = 11, 12


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--positions", type=int, default=15, help="tokens of the prompt")
    options = parser.parse_args()
    rounds, n_positions = 1 if options.quick else options.rounds, options.positions
    layers = range(0, shape.N_LAYERS, 4 if options.quick else 1)
    torch.set_num_threads(options.threads)
    model = shape.subject()
    clean, corrupted = shape.ids(1, n_positions, seed=1), shape.ids(1, n_positions, seed=2)
    paths = [f"blocks.{i}.resid_in" for i in layers]
    source = Source(model.run(corrupted, record=paths, logits=False).recording)
    cells = [
        [Intervention(path, "patch", at=(Span(p, p + 1),), source=source)] for path in paths for p in range(n_positions)
    ]
    metric = Metric("logit_difference", (TARGET,), (CONTRAST,))
    donors = [source.values[path].clone() for path in paths]
    found: dict[str, Tensor] = {}

    def swept() -> None:
        found["sweep"] = model.sweep(clean, metric, cells)

    def naive() -> None:
        found["naive"] = torch.stack([
            one_forward(model.module, clean, layer, position, donor)
            for layer, donor in zip(layers, donors, strict=True)
            for position in range(n_positions)
        ])  # fmt: skip

    swept()
    spent = timing.alternate({"sweep": swept, "naive": naive}, rounds)
    faster = timing.ratio(spent["naive"], spent["sweep"])
    difference = float((found["sweep"].double() - found["naive"].double()).abs().max())
    spread = float(found["naive"].max() - found["naive"].min())
    middle = {name: timing.median(seconds) for name, seconds in spent.items()}
    rows = [[n, f"{m.wall_s:.2f}", f"{m.cpu_s:.2f}", f"{len(cells) / m.wall_s:.1f}"] for n, m in middle.items()]
    timing.show([f"{len(cells)} cells", "wall s", "cpu s", "cells/s"], rows)
    print(f"max |difference| {difference} over cells that spread by {spread:.3g}")
    bars = [
        timing.Bar("sweep: times faster than naive, wall", faster.wall_s, ">=", 4),
        timing.Bar("sweep: times faster than naive, cpu", faster.cpu_s, ">=", 4),
        timing.Bar("sweep: max |difference| from naive", difference, "<=", 0),
    ]
    timing.report(options, {"cells": len(cells), **spent, "difference": difference}, bars)


def one_forward(model: torch.nn.Module, ids: Tensor, layer: int, position: int, donor: Tensor) -> Tensor:
    """Run the whole model with one position of one block's input replaced; return the metric."""

    def patch(_block: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        changed[:, position] = donor[position]
        return (changed, *args[1:])

    handle = model.transformer.h[layer].register_forward_pre_hook(patch)
    try:
        with torch.no_grad():
            last = model(input_ids=ids, use_cache=False).logits[0, -1]
    finally:
        handle.remove()
    return last[TARGET] - last[CONTRAST]


if __name__ == "__main__":
    main()
