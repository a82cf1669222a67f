"""patchclamp: a TopK autoencoder, trained as ``train`` does."""

from importlib.metadata import version
from typing import Any

import steps


def make(width: int, latents: int, k: int, rate: float, first: Any) -> Any:
    import torch

    from patchclamp.decompose import TopKConfig, make_coder

    coder = make_coder(TopKConfig(latents, k=k), width)
    coder.begin(first, first)
    optimizer = torch.optim.Adam(coder.parameters(), lr=rate, fused=True)

    def step(x: Any) -> None:
        found = coder.losses(x, x, dead_after=10_000_000)
        optimizer.zero_grad(set_to_none=True)
        found.total.backward()
        coder.project()
        optimizer.step()
        coder.renormalise()
        coder.note_fired(found.fired, len(x))

    return f"patchclamp {version('patchclamp')}", step, coder


if __name__ == "__main__":
    steps.serve(make)
