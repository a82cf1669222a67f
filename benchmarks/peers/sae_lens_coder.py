"""SAELens: its TopKTrainingSAE with its own training step, under Adam."""

from importlib.metadata import version
from typing import Any

import steps


def make(width: int, latents: int, k: int, rate: float, first: Any) -> Any:
    import torch
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    coder = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=width, d_sae=latents, k=k))
    coder.b_dec.data.copy_(first.mean(0))
    optimizer = torch.optim.Adam(coder.parameters(), lr=rate, fused=True)
    more = {"n_training_steps": 0} if "n_training_steps" in TrainStepInput.__dataclass_fields__ else {}
    more |= {"is_logging_step": False} if "is_logging_step" in TrainStepInput.__dataclass_fields__ else {}

    def step(x: Any) -> None:
        found = coder.training_forward_pass(TrainStepInput(sae_in=x, coefficients={}, dead_neuron_mask=None, **more))
        optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        optimizer.step()

    return f"SAELens {version('sae-lens')}", step, coder


if __name__ == "__main__":
    steps.serve(make)
