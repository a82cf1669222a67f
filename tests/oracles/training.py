"""Training in plain PyTorch: a bare loop, and what early stopping must give, from every step's weights."""

import torch


def bare_loop(net, batches, loss_of, *, passes, rate, warmup, decay, clip, seed):
    """Train a net as a tutorial would; return its weights before every step and after the last, and every loss."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    n_steps, step, losses = passes * len(batches), 0, []
    weights = [{name: t.clone() for name, t in net.state_dict().items()}]
    for _ in range(passes):
        for batch in batches:
            loss = loss_of(batch, step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            up = (step + 1) / max(warmup * n_steps, 1)
            down = (n_steps - step) / max(decay * n_steps, 1)
            optimizer.param_groups[0]["lr"] = rate * min(up, down, 1)
            optimizer.step()
            step += 1
            losses.append(loss.item())
            weights.append({name: t.clone() for name, t in net.state_dict().items()})
    return weights, losses


def stop_early(values, *, every, patience, better, least):
    """Return the best step and the step at which to stop, from what is measured at each step, 0 among them."""
    last = len(values) - 1
    sign = 1 if better == "lower" else -1
    best, waited = 0, 0
    for step in range(1, last + 1):
        if step % every == 0 or step == last:
            if sign * values[step] < sign * values[best] - least:
                best, waited = step, 0
            else:
                waited += 1
            if waited == patience:
                return best, step
    return best, last
