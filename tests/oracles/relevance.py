"""RelP written out twice, apart from the package: as the matrices of every step, and as stop-gradients.

Letters, for one prompt of T tokens: x the residual stream, y a norm's output, σ its divisor, w its gain, u and v the
two sides of a gate (v = 1 without one), φ the nonlinearity, a = φ(u) v the neurons, A a head's pattern, z what the
heads give, ρ the coefficient that stands where the gradient would.
"""

import copy
import math
from functools import partial

import torch

from oracles import hooks

STABLE = 1e-6
# Where a family keeps its blocks, and in a block the linear maps that read z and a.
READERS = {
    "gpt2": ("transformer.h", "attn.c_proj", "mlp.c_proj"),
    "gptj": ("transformer.h", "attn.out_proj", "mlp.fc_out"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense", "mlp.dense_4h_to_h"),
    "llama": ("model.layers", "self_attn.o_proj", "mlp.down_proj"),
    "gemma2": ("model.layers", "self_attn.o_proj", "mlp.down_proj"),
}


def places(family, n_layers):
    """Return module and side of the stream, the heads and the neurons of every block."""
    blocks, z, a = READERS[family]
    inside = {"resid_in": "", "attn.z": f".{z}", "mlp.act": f".{a}"}
    return {f"blocks.{i}.{s}": (f"{blocks}.{i}{path}", "in") for i in range(n_layers) for s, path in inside.items()}


# -- every step's matrix, GPT-2 and Llama -----------------------------------------------------------------------------


def norm(x, w, epsilon, centre, held):
    """∂y/∂x at every position: diag(w/σ) (I − 11ᵀ/d), RMS without 11ᵀ/d; I − x̂x̂ᵀ/d between them unless σ is held."""
    d = len(w)
    eye = torch.eye(d, dtype=x.dtype)
    C = eye - torch.ones(d, d, dtype=x.dtype) / d if centre else eye
    found = []
    for row in x:
        centred = C @ row
        sigma = (centred @ centred / d + epsilon).sqrt()
        bend = eye if held else eye - torch.outer(centred, centred) / (d * sigma**2)
        found.append(torch.diag(w / sigma) @ bend @ C)
    return torch.stack(found)


def gate(u, v, phi, identity, half):
    """Return ∂a/∂u and ∂a/∂v: v φ(u)/u (or v φ′(u), without identity) and φ(u); of both a half, with half."""
    h = 1e-6
    stable = u + STABLE * torch.where(u < 0, -1.0, 1.0)
    slope = phi(u) / stable if identity else (phi(u + h) - phi(u - h)) / (2 * h)
    share = 0.5 if half else 1.0
    return share * v * slope, share * phi(u)


def mixed(A, W_V, groups):
    """∂z/∂y with A held, ``(T, heads · d_head, T, d)``: head h at t reads A_ts W_V y_s, W_V that of its group."""
    (heads, T, _), d_head = A.shape, len(W_V) // groups
    J = torch.zeros(T, heads * d_head, T, W_V.shape[1], dtype=A.dtype)
    for h in range(heads):
        g = h * groups // heads
        for t in range(T):
            for s in range(T):
                J[t, h * d_head : (h + 1) * d_head, s] = A[h, t, s] * W_V[g * d_head : (g + 1) * d_head]
    return J


def back(J, rho):
    """Return Jᵀρ at every position."""
    return torch.stack([j.T @ r for j, r in zip(J, rho, strict=True)])


def phi(family):
    """Return the nonlinearity: GELU by tanh, or SiLU."""
    if family == "llama":
        return lambda u: u / (1 + torch.exp(-u))
    return lambda u: u / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def weights(module, family, i):
    """Return w₁, W_V, W_O, w₂, W_in, W_up (None without a gate) and W_down of a block, as ``(out, in)`` matrices."""
    if family == "llama":
        b = module.model.layers[i]
        a, f = b.self_attn, b.mlp
        norms = (b.input_layernorm.weight, b.post_attention_layernorm.weight)
        linear = [w.weight for w in (a.v_proj, a.o_proj, f.gate_proj, f.up_proj, f.down_proj)]
    else:
        b = module.transformer.h[i]
        W_V = b.attn.c_attn.weight[:, -module.config.hidden_size :].T
        norms = (b.ln_1.weight, b.ln_2.weight)
        linear = [W_V, b.attn.c_proj.weight.T, b.mlp.c_fc.weight.T, None, b.mlp.c_proj.weight.T]
    return norms[0], *linear[:2], norms[1], *linear[2:]


def recorded(module, family, ids):
    """Return one prompt's values by site and its patterns by block ``(head, t, s)``."""
    values = {}
    sites = hooks.places(family, module.config.num_hidden_layers)
    see = [(*place, lambda x, site=site: values.update({site: x[0].clone()})) for site, place in sites.items()]
    hooks.called(module, ids, torch.arange(ids.shape[1])[None], see)
    return values, [A[0] for A in module(ids, output_attentions=True, use_cache=False).attentions]


@torch.no_grad()
def relevance(module, family, ids, t, c, rules):
    """Return ρ(site), ``(T, width)``, from z_t − z_c at the last token back to the first block; ``ah`` always holds."""
    module = copy.deepcopy(module).double()
    module.set_attn_implementation("eager")
    n, A = recorded(module, family, ids)
    config, centre, held = module.config, family == "gpt2", "ln" in rules
    epsilon = config.layer_norm_epsilon if centre else config.rms_norm_eps
    groups = getattr(config, "num_key_value_heads", config.num_attention_heads)
    w_f = (module.transformer.ln_f if centre else module.model.norm).weight
    rho, last = torch.zeros_like(n["final"]), config.num_hidden_layers - 1
    rho[-1] = module.lm_head.weight[t] - module.lm_head.weight[c]
    rho = back(norm(n[f"blocks.{last}.resid_out"], w_f, epsilon, centre, held), rho)
    found = {}
    for i in reversed(range(last + 1)):
        w_1, W_V, W_O, w_2, W_in, W_up, W_down = weights(module, family, i)
        u = n[f"blocks.{i}.mlp.pre"]
        v = torch.ones_like(u) if W_up is None else n[f"blocks.{i}.mlp.up"]
        # Without a gate there is no product, and nothing to halve.
        du, dv = gate(u, v, phi(family), "identity" in rules, "half" in rules and W_up is not None)
        found[f"blocks.{i}.mlp.act"] = rho_a = rho @ W_down
        rho_y = (rho_a * du) @ W_in + (0 if W_up is None else (rho_a * dv) @ W_up)
        rho = rho + back(norm(n[f"blocks.{i}.resid_mid"], w_2, epsilon, centre, held), rho_y)
        found[f"blocks.{i}.attn.z"] = rho_z = rho @ W_O
        rho_y = torch.einsum("tz,tzsy->sy", rho_z, mixed(A[i], W_V, groups))
        rho = rho + back(norm(n[f"blocks.{i}.resid_in"], w_1, epsilon, centre, held), rho_y)
        found[f"blocks.{i}.resid_in"] = rho
    return found


# -- stop-gradients, every family -------------------------------------------------------------------------------------


def rewritten(module, rules):
    """Return a copy whose norms, nonlinearities and gates are the rules' own formulas, sg(·) as ``detach``."""
    model = copy.deepcopy(module)
    for path, part in model.named_modules():
        if "ln" in rules and "Norm" in type(part).__name__:
            part.forward = partial(_norm, part)
        if "identity" in rules and path.endswith(("mlp.act", "mlp.act_fn")):
            part.forward = partial(_identity, part.forward)
        if "half" in rules and hasattr(part, "gate_proj"):
            part.forward = partial(_halved, part)
    return model


def _norm(part, x):
    """y = (x − mean(x)) / sg(σ) · w + b; an RMS norm has neither mean nor b, Gemma's gain is 1 + w."""
    name, centred = type(part).__name__, x
    if name == "LayerNorm":
        centred = x - x.mean(-1, keepdim=True)
    epsilon = part.variance_epsilon if hasattr(part, "variance_epsilon") else part.eps
    sigma = torch.sqrt((centred**2).mean(-1, keepdim=True) + epsilon)
    w = 1 + part.weight if name.startswith("Gemma") else part.weight
    return centred / sigma.detach() * w + getattr(part, "bias", 0.0)


def _identity(function, x):
    """z = x_s · sg(φ(x) / x_s)."""
    x_s = x + STABLE * torch.where(x < 0, -1.0, 1.0)
    return x_s * (function(x) / x_s).detach()


def _halved(part, x):
    """g = u v / 2 + sg(u v / 2)."""
    g = part.act_fn(part.gate_proj(x)) * part.up_proj(x)
    return part.down_proj(g / 2 + (g / 2).detach())
