"""The rank-one edit by the letters of Meng et al. (2022): plain hooks, autograd, torch.optim.Adam."""

import torch


def rank_one(subject, task, text, options):
    """Return ΔW = (v* − W k*) (C⁻¹ k*)ᵀ / (k*ᵀ C⁻¹ k*), flattened as the parameter lies."""
    model, case, [part] = subject.module, task.cases[0], task.cases[0].parts
    [answer] = subject.continuation(case.shown, case.targets[0])
    layer = subject.n_layers // 4 if options.layer is None else options.layer
    mlp = (model.transformer.h if hasattr(model, "transformer") else model.model.layers)[layer].mlp
    down, conv = (mlp.c_proj, True) if hasattr(mlp, "c_proj") else (mlp.down_proj, False)
    K = torch.as_tensor(text[f"blocks.{layer}.mlp.act"][text.counted]).double()
    short = [s.text + " " for s in text.stimuli if len(s) <= options.prefix_tokens][: options.n_prefixes]
    name = case.shown[part.start : part.stop]
    prompts = [*(prefix + case.shown for prefix in ["", *short]), f"{name} is a"]
    rows = [subject.tokenize(prompt) for prompt in prompts]
    ends = [len(p) if options.position == "last" else p.rindex(name) + len(name) for p in prompts]
    at = [sum(first < end for first, _ in row.spans) - 1 for row, end in zip(rows, ends, strict=True)]

    def run(delta):  # log probabilities after each row, and the mean key and value at its token
        seen, logs = [], []
        for row, t in zip(rows, at, strict=True):
            here = (torch.arange(len(row))[None, :, None] == t).float()
            hook = lambda _, x, y, t=t, here=here: seen.append((x[0][0, t], y[0, t])) or y + here * delta.float()  # noqa: E731
            handle = down.register_forward_hook(hook)
            logs.append(model(input_ids=torch.tensor(row.ids)[None]).logits[0, -1].double().log_softmax(-1))
            handle.remove()
        return logs, *(torch.stack(part).detach().double().mean(0) for part in zip(*seen[:-1], strict=True))

    logs, k, v = run(torch.zeros(1))
    before, delta = logs[-1].detach(), torch.zeros_like(v, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=options.learning_rate * float(v.norm()) / len(v) ** 0.5)
    for _ in range(options.steps - 1):
        logs = run(delta)[0]
        nll = -sum(log[answer] for log in logs[:-1]) / len(logs[:-1])
        if nll < options.enough:
            break
        loss = nll + options.kl * (before.exp() * (before - logs[-1])).sum()
        loss = torch.add(loss, delta @ delta / (v @ v), alpha=options.weight_decay)
        [delta.grad] = torch.autograd.grad(loss, [delta])
        adam.step()
        delta.data *= min(1.0, float(options.largest * v.norm() / delta.data.norm()))
    u = torch.linalg.solve(K.T @ K / len(K), k)
    return torch.outer(*((u, delta) if conv else (delta, u))).div(k @ u).flatten().detach().numpy()
