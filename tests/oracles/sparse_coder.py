"""Sparse coders the slow way: dense matrices, one formula per line, everything differentiated by autograd."""

import numpy as np
import torch


def dense_topk(pre: torch.Tensor, k: int) -> torch.Tensor:
    """Keep each row's k largest positive entries."""
    f = torch.zeros_like(pre)
    for n, row in enumerate(pre):
        best = row.detach().argsort(descending=True)[:k]
        f[n, best] = row[best].clamp(min=0)
    return f


def dense_batch_topk(pre: torch.Tensor, k: int) -> torch.Tensor:
    """Keep the n · k largest positive entries of all."""
    flat = pre.flatten()
    best = flat.detach().argsort(descending=True)[: len(pre) * k]
    f = torch.zeros_like(flat)
    f[best] = flat[best].clamp(min=0)
    return f.view_as(pre)


def autoencode(x, encoder, encoder_bias, decoder_bias, decoder, keep):
    """Return f D with f = keep((x − b_dec) Eᵀ + b_enc), densely."""
    f = keep((x - decoder_bias) @ encoder.T + encoder_bias)
    return f @ decoder, f


def l1_loss(x, y, encoder, encoder_bias, decoder_bias, decoder, output_bias, sparsity):
    """Return mean over batch and dimensions of (ŷ − y)² / ‖y‖₂, plus λ mean Σ f."""
    f = torch.relu((x - decoder_bias) @ encoder.T + encoder_bias)
    y_hat = f @ decoder + output_bias
    total = 0.0
    for n in range(len(x)):
        total = total + ((y_hat[n] - y[n]) ** 2 / y[n].norm()).mean() + sparsity * f[n].sum()
    return total / len(x)


def begin(x, y, encoder, decoder, k, k_first, keep=dense_topk):
    """Return E and D turned towards what each latent's vectors are, and E's length by least squares.

    x and y are scaled and without their means.
    """
    code = dense_topk(x @ encoder.T, k_first)
    turned = []
    for rows, seen in ((encoder, x), (decoder, y)):
        new = rows.clone()
        for j in range(len(rows)):
            toward = code[:, j] @ seen
            if toward.norm() > 0:
                new[j] = 3 * rows[j] + toward / toward.norm()
                new[j] /= new[j].norm()
        turned.append(new)
    encoder, decoder = turned
    y_hat = keep(x @ encoder.T, k) @ decoder
    return encoder * torch.linalg.lstsq(y_hat.reshape(-1, 1), y.reshape(-1, 1)).solution.item(), decoder


def adam(parameters, gradients, moments, step, rate):
    """Take one step of Adam, in place: m, v ← moving means of g and g²; p ← p − rate · m̂ / (√v̂ + 10⁻⁸)."""
    for p, g, (m, v) in zip(parameters, gradients, moments, strict=True):
        m.copy_(0.9 * m + 0.1 * g)
        v.copy_(0.999 * v + 0.001 * g * g)
        p.data -= rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)


def train(recording, options, gain, loss, keep=None, more=()):
    """Return D after one pass over activations that fit into the buffer, no latent dead, by gradients of a loss."""
    x = torch.as_tensor(next(iter(recording.values.values())))
    draw, n = torch.Generator().manual_seed(0), options.n_features
    D = torch.nn.functional.normalize(torch.randn(n, x.shape[1], generator=draw), dim=1)
    E = D.clone() * gain
    x = x * (x.shape[1] / (x**2).sum(1).mean()).sqrt()
    b_dec, b_out, b_enc = x.mean(0), x.mean(0), torch.zeros(n)
    if keep is not None:
        seen = x[:: -(-len(x) // 8192)] - b_dec
        by_batch = lambda pre, k: torch.cat([keep(part, k) for part in pre.split(options.coder_batch)])  # noqa: E731
        E, D = begin(seen, seen, E, D, options.k, -(-options.k // 4), by_batch)
    parameters = [one.clone().requires_grad_() for one in (E, b_enc, b_dec, D, b_out, *more)]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    order, size = np.random.default_rng([0, 0]).permutation(len(x)), options.coder_batch
    steps = len(x) // size
    for step in range(steps):
        rows = x[order[step * size : (step + 1) * size]]
        warm = min((step + 1) / max(0.05 * steps, 1), 1)
        gradients = list(torch.autograd.grad(loss(rows, parameters, warm), parameters))
        D = parameters[3].data
        gradients[3] = gradients[3] - (gradients[3] * D).sum(1, keepdim=True) * D
        adam(
            parameters,
            gradients,
            moments,
            step + 1,
            options.learning_rate * min(warm, (steps - step) / max(0.2 * steps, 1)),
        )
        parameters[3].data /= parameters[3].data.norm(dim=1, keepdim=True)
    return parameters[3].detach().numpy()


def kept(keep, k):
    """Return the loss of coders that keep some latents: mean (x − x̂)²."""

    def loss(x, parameters, _warm):
        E, b_enc, b_dec, D, b_out = parameters
        return ((x - autoencode(x, E, b_enc, b_dec, D, lambda pre: keep(pre, k))[0] - b_out) ** 2).mean()

    return loss


def topk(recording, options):
    """Return D of a TopK coder (arXiv 2406.04093)."""
    return train(recording, options, 1.0, kept(dense_topk, options.k), dense_topk)


def batchtopk(recording, options):
    """Return D of a BatchTopK coder (arXiv 2412.06410)."""
    return train(recording, options, 1.0, kept(dense_batch_topk, options.k), dense_batch_topk)


def l1(recording, options):
    """Return D of an L1 coder (arXiv 2309.08600)."""
    d = next(iter(recording.sites.values())).width

    def loss(x, parameters, warm):
        E, b_enc, b_dec, D, b_out = parameters
        return l1_loss(x, x, E, b_enc, b_dec, D, b_out, warm * options.sparsity)

    return train(recording, options, min(1.0, 2 * d / options.n_features), loss)


def jumprelu(recording, options, epsilon=0.05, first=0.1):
    """Return D of a JumpReLU coder (arXiv 2407.14435), θ by the pseudo-derivatives of a rectangle kernel."""
    root = next(iter(recording.sites.values())).width ** 0.5
    log_theta = torch.full((options.n_features,), np.log(first * root), dtype=torch.float32)

    def loss(x, parameters, warm):
        E, b_enc, b_dec, D, b_out, log_theta = parameters
        a, theta, width = (x - b_dec) @ E.T + b_enc, log_theta.exp(), epsilon * root
        near = ((a - theta).abs() < width / 2).float().detach()
        # What is added is zero, and its gradient in θ is the pseudo-derivative.
        moved = near / width * (theta.detach() - theta)
        on = (a > theta).float()
        f, count = a * on + moved * theta.detach(), on + moved
        return ((x - f @ D - b_out) ** 2).mean() + warm * options.sparsity * count.sum(1).mean()

    return train(recording, options, 1.0, loss, more=[log_theta])
