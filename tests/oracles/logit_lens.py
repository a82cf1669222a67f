"""The logit lens in plain transformers: hidden states through the last norm and the unembedding, one at a time."""

import torch

NORMS = {"GPT2LMHeadModel": "transformer.ln_f", "LlamaForCausalLM": "model.norm"}


def logit_lens(bare, ids):
    """Return log-probabilities ``[site][position] → (token,)`` from the model's own hidden states."""
    with torch.no_grad():
        states = bare(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
        norm = bare.get_submodule(NORMS[type(bare).__name__])
        rows = []
        for number, state in enumerate(states):
            # transformers gives the last state behind the norm already.
            last = number == len(states) - 1
            rows.append(
                [bare.lm_head(vector if last else norm(vector)).double().log_softmax(-1) for vector in state[0]]
            )
    return rows
