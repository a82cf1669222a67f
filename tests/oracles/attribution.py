"""The methods of attribution by their formulas, on one case: x the prompt, x′ its counterpart (zero without one).

Each returns the score of every key. Units are neurons and heads: n ``(position, width)`` what a site does, m the
difference of the logits z of answer and contrast at the last position.
"""

import numpy as np
import torch

from oracles import edges, hooks, integrated, relevance

LEAST = 0.1
"""Cases whose m differs by less between x and x′ are set aside."""
FAMILY = {"GPT2LMHeadModel": "gpt2", "LlamaForCausalLM": "llama"}


def prompts(subject, task):
    """Return the ids of a task's only x and of its x′ (None without one), and m of the logits."""
    [case] = task.cases
    return ends(subject, case)


def ends(subject, case):
    """Return the ids of x and of x′ (None without one), and m of the logits."""
    x, other = (
        None if text is None else torch.tensor(subject.stimuli(text)[0].ids[None])
        for text in (case.shown, case.counterpart)
    )
    t, c = (subject.continuation(case.shown, answer)[0] for answer in (case.targets[0], case.contrasts[0]))
    return x, other, lambda z: (z if z.ndim == 1 else z[0, -1])[t] - (z if z.ndim == 1 else z[0, -1])[c]


def sites(subject, x, other):
    """Yield every site with its basis, its place in the module, n(x), n(x′) and the width of a unit."""
    where = hooks.places(FAMILY[type(subject.module).__name__], subject.n_layers)
    for i in range(subject.n_layers):
        for site, basis in ((f"blocks.{i}.attn.z", "heads"), (f"blocks.{i}.mlp.act", "neurons")):
            n = integrated.value(subject.module, x, where[site])
            r = torch.zeros_like(n) if other is None else integrated.value(subject.module, other, where[site])
            yield site, basis, where[site], n, r, n.shape[1] // subject.site(site).n_heads if basis == "heads" else 1


def named(site, basis, scores):
    """Return ``(position, unit)`` scores by key."""
    return {f"{site}/{basis}/{u}@{p}": float(s) for p, row in enumerate(scores) for u, s in enumerate(row)}


def attribution_patching(subject, task, options):
    """(n(x) − n(x′)) · ∂m/∂n at x."""
    x, other, m = prompts(subject, task)
    found = {}
    for site, basis, place, n, r, width in sites(subject, x, other):
        slope = integrated.gradient(subject.module, x, place, n, m)
        found |= named(site, basis, integrated.blocks((n - r) * slope, width))
    return found


def integrated_gradients(subject, task, options):
    """(n(x) − n(x′)) · Σ_k w_k ∂m/∂n at n(x′) + α_k (n(x) − n(x′))."""
    x, other, m = prompts(subject, task)
    points, weights = np.polynomial.legendre.leggauss(options.steps)
    found = {}
    for site, basis, place, n, r, width in sites(subject, x, other):
        total = sum(
            w / 2 * integrated.gradient(subject.module, x, place, r + (a + 1) / 2 * (n - r), m)
            for a, w in zip(points, weights, strict=True)
        )
        found |= named(site, basis, integrated.blocks((n - r) * total, width))
    return found


def activation_patching(subject, task, options):
    """m(x) − m(x with n := n(x′))."""
    x, other, m = prompts(subject, task)
    found = {}
    for site, basis, place, n, r, width in sites(subject, x, other):
        units = [slice(u, u + width) for u in range(0, n.shape[1], width)]
        scores = [[integrated.replaced(subject.module, x, place, r, m, (p, u)) for u in units] for p in range(len(n))]
        found |= named(site, basis, scores)
    return found


def direct_logit(subject, task, options):
    """(n(x) − n(x′)) W_O N_fᵀ (W_U[t] − W_U[c]) at the last position, the divisor of the last norm held; else 0."""
    x, other, m = prompts(subject, task)
    module, family = subject.module, FAMILY[type(subject.module).__name__]
    norm, place = (
        (module.transformer.ln_f, "transformer.ln_f") if family == "gpt2" else (module.model.norm, "model.norm")
    )
    before = integrated.value(module, x, (place, "in"))[-1:].double()
    epsilon = norm.eps if family == "gpt2" else norm.variance_epsilon
    N_f = relevance.norm(before, norm.weight.detach().double(), epsilon, family == "gpt2", True)
    rho = relevance.back(N_f, torch.autograd.functional.jacobian(m, torch.zeros(len(module.lm_head.weight)).double())
                         @ module.lm_head.weight.detach().double()[None])  # fmt: skip
    found = {}
    for site, basis, _, n, r, width in sites(subject, x, other):
        _, _, W_O, _, _, _, W_down = relevance.weights(module, family, int(site.split(".")[1]))
        scores = torch.zeros_like(n, dtype=torch.float64)
        scores[-1] = (n - r).double()[-1] * (rho @ (W_O if basis == "heads" else W_down).detach().double())[0]
        found |= named(site, basis, integrated.blocks(scores, width))
    return found


def activation(subject, task, options):
    """‖n(x)‖."""
    x, _, _ = prompts(subject, task)
    found = {}
    for site, basis, _, n, _, width in sites(subject, x, None):
        found |= named(site, basis, integrated.blocks(n**2, width).sqrt())
    return found


def eap(subject, task, options):
    """(u(x) − u(x′)) · ∂m/∂(input of v) at x."""
    return _edges(subject, task, lambda run, module, x, y, m, parts: edges.eap(run, module, x, y, m, parts))


def eap_ig(subject, task, options):
    """(u(x) − u(x′)) · Σ_k w_k ∂m/∂(input of v), the run beginning at x′ + α_k (x − x′)."""
    points, weights = np.polynomial.legendre.leggauss(options.steps)

    def score(run, module, x, y, m, parts):
        own, theirs = (edges.written_by(run, module, one) for one in (x, y))
        total = 0.0
        for a, w in zip(points, weights, strict=True):
            at = edges.slopes(run, module, y + (a + 1) / 2 * (x - y), m)
            total = total + w / 2 * torch.stack([((own[u] - theirs[u]) * at[v]).sum() for u, v in parts])
        return total

    return _edges(subject, task, score)


def _edges(subject, task, score):
    """Return every edge's score, its mean over the cases whose two prompts differ in m."""
    n_layers, n_heads = subject.n_layers, subject.module.config.n_head
    writers, parts = ["embed/whole/0"], []
    for i in range(n_layers):
        before = list(writers)
        parts += [(u, f"blocks.{i}.attn.{s}/heads/{h}") for s in "qkv" for h in range(n_heads) for u in before]
        writers += [f"blocks.{i}.attn.z/heads/{h}" for h in range(n_heads)]
        parts += [(u, f"blocks.{i}.mlp.pre/whole/0") for u in writers]
        writers.append(f"blocks.{i}.mlp.write/whole/0")
    parts += [(u, "final/whole/0") for u in writers]
    each = []
    for case in task.cases:
        x, other, m = ends(subject, case)
        x, other = (edges.embedded(subject.module, one[0].tolist()).detach() for one in (x, other))
        clean, corrupted = (
            m(edges.run(subject.module, one, lambda v, stream, writes: stream)[0]) for one in (x, other)
        )
        if abs(clean - corrupted) >= LEAST:
            each.append(score(edges.run, subject.module, x, other, m, parts))
    return {f"{u}->{v}": float(value) for (u, v), value in zip(parts, torch.stack(each).mean(0), strict=True)}
