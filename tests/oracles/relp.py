"""RelP by its formula: (n(x) − n(x′)) · ρ(n), ρ the gradient of a copy of the network whose parts are the rules'."""

import torch

from oracles import hooks, integrated, relevance

FAMILY = {"GPT2LMHeadModel": "gpt2", "LlamaForCausalLM": "llama"}


def relp(subject, task, options):
    """Return the score of every neuron and head at every position of one case; without a counterpart n(x′) is 0."""
    [case] = task.cases
    family = FAMILY[type(subject.module).__name__]
    here, other = (
        None if text is None else torch.tensor(subject.stimuli(text)[0].ids[None])
        for text in (case.shown, case.counterpart)
    )
    t, c = (subject.continuation(case.shown, answer)[0] for answer in (case.targets[0], case.contrasts[0]))
    backward = relevance.rewritten(subject.module, options.rules)
    where = hooks.places(family, subject.n_layers)
    scores = {}
    for i in range(subject.n_layers):
        for site, basis in ((f"blocks.{i}.attn.z", "heads"), (f"blocks.{i}.mlp.act", "neurons")):
            n = integrated.value(subject.module, here, where[site])
            theirs = 0 if other is None else integrated.value(subject.module, other, where[site])
            rho = integrated.gradient(backward, here, where[site], n, lambda z: z[0, -1, t] - z[0, -1, c])
            width = n.shape[1] // subject.site(site).n_heads if basis == "heads" else 1
            for p, row in enumerate(integrated.blocks((n - theirs) * rho, width)):
                scores |= {f"{site}/{basis}/{u}@{p}": float(score) for u, score in enumerate(row)}
    return scores
