"""The Expressive Leaky Memory neuron, synapse by synapse and step by step, in the paper's letters."""

import numpy as np


def elm(module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and m after the last step of inputs ``(batch, step, synapse)``."""
    p = {name: value.detach().double().numpy() for name, value in module.named_parameters()}
    low, high = module.ends
    tau_m = low + (high - low) / (1 + np.exp(-p["raw_tau"]))
    per_branch = x.shape[2] // module.n_branches
    answers, memories = [], []
    for series in x:
        s, m = np.zeros(x.shape[2]), np.zeros(len(tau_m))
        for x_t in series:
            for i in range(len(s)):
                s[i] = module.k_s * s[i] + max(p["weight"][i], 0.0) * x_t[i]
            b = np.array([s[k * per_branch : (k + 1) * per_branch].sum() for k in range(module.n_branches)])
            k_m = np.exp(-1 / tau_m)
            hidden = np.maximum(p["first.weight"] @ np.concatenate([b, k_m * m]) + p["first.bias"], 0.0)
            dm = 1.7159 * np.tanh(2 / 3 * (p["second.weight"] @ hidden + p["second.bias"]))
            m = k_m * m + (1 - np.exp(-module.lam / tau_m)) * dm
        memories.append(m)
        answers.append(p["readout.weight"] @ m + p["readout.bias"])
    return np.array(answers), np.array(memories)
