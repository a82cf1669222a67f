"""Sparse coders the slow way: dense matrices, one formula per line, everything differentiated by autograd."""

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


def begin(x, y, encoder, decoder, k, k_first):
    """Return E and D turned towards what each latent's vectors are, and E's length by least squares.

    x and y are scaled and without their means.
    """
    code = dense_topk(x @ encoder.T, k_first)
    turned = []
    for rows, seen in ((encoder, x), (decoder, y)):
        new = rows.clone()
        for j in range(len(rows)):
            toward = sum(code[n, j] * seen[n] for n in range(len(seen)))
            if toward.norm() > 0:
                new[j] = 3 * rows[j] + toward / toward.norm()
                new[j] /= new[j].norm()
        turned.append(new)
    encoder, decoder = turned
    y_hat = dense_topk(x @ encoder.T, k) @ decoder
    return encoder * torch.linalg.lstsq(y_hat.reshape(-1, 1), y.reshape(-1, 1)).solution.item(), decoder
