"""sparsify: its SparseCoder with its own loss and decoder normalisation, under Adam."""

from importlib.metadata import version
from typing import Any

import steps


def make(width: int, latents: int, k: int, rate: float, first: Any) -> Any:
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(width, SparseCoderConfig(num_latents=latents, k=k))
    coder.b_dec.data.copy_(first.mean(0))
    optimizer = torch.optim.Adam(coder.parameters(), lr=rate, fused=True)

    def step(x: Any) -> None:
        coder.set_decoder_norm_to_unit_norm()
        found = coder(x)
        optimizer.zero_grad(set_to_none=True)
        found.fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()

    return f"sparsify {version('eai-sparsify')}", step, lambda x: coder(x).sae_out


if __name__ == "__main__":
    steps.serve(make)
