"""The rank-one edit by the letters of Meng et al. (2022): plain hooks, autograd, torch.optim.Adam."""

import torch


def rank_one(subject, task, text, options):
    """Return ΔW = (v* − W k*) (C⁻¹ k*)ᵀ / (k*ᵀ C⁻¹ k*), flattened as the parameter lies."""
    model, case, [part] = subject.module, task.cases[0], task.cases[0].parts
    blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    layer = len(blocks) // 4 if options.layer is None else options.layer
    mlp = blocks[layer].mlp
    down, conv = (mlp.c_proj, True) if hasattr(mlp, "c_proj") else (mlp.down_proj, False)
    K = torch.as_tensor(text[f"blocks.{layer}.mlp.act"][text.counted]).double()
    short = [s.text + " " for s in text.stimuli if len(s) <= options.prefix_tokens][: options.n_prefixes]
    name = case.shown[part.start : part.stop]
    rows, at = [], []
    for prompt in [*(prefix + case.shown for prefix in ["", *short]), f"{name} is a"]:
        rows.append(subject.tokenize(prompt))
        inside = [t for t, (a, _) in enumerate(rows[-1].spans) if 0 <= a < prompt.rindex(name) + len(name)]
        at.append(len(rows[-1]) - 1 if options.position == "last" else inside[-1])

    def run(delta):  # log probabilities after each row, and the mean key and value at its token
        seen, logs = [], []
        for row, t in zip(rows, at, strict=True):
            here = torch.arange(len(row))[None, :, None] == t
            hook = down.register_forward_hook(
                lambda _, x, y, t=t, here=here: seen.append((x[0][0, t], y[0, t])) or y + here * delta.float()
            )
            logs.append(model(input_ids=torch.tensor(row.ids)[None]).logits[0, -1].double().log_softmax(-1))
            hook.remove()
        return logs, *(torch.stack(part).detach().double().mean(0) for part in zip(*seen[:-1], strict=True))

    logs, k, v = run(torch.zeros(1))
    before, delta = logs[-1].detach(), torch.zeros_like(v, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=options.learning_rate * float(v.norm()) / len(v) ** 0.5)
    for step in range(options.steps):
        logs = run(delta)[0]
        nll = -sum(log[subject.continuation(case.shown, case.targets[0])[0]] for log in logs[:-1]) / len(logs[:-1])
        if nll < options.enough or step == options.steps - 1:
            break
        loss = nll + options.kl * (before.exp() * (before - logs[-1])).sum()
        loss = loss + options.weight_decay * (delta**2).sum() / v.norm() ** 2
        [delta.grad] = torch.autograd.grad(loss, [delta])
        adam.step()
        delta.data *= min(1.0, float(options.largest * v.norm() / delta.data.norm()))
    u = torch.linalg.solve(K.T @ K / len(K), k)
    change = torch.outer(delta.detach(), u) / (k @ u)
    return (change.T if conv else change).flatten().numpy()
