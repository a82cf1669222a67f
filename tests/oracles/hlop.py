"""Hebbian orthogonal projection of one softmax layer, example by example in the paper's letters."""

import numpy as np
import torch


def rate(W: np.ndarray, stream) -> list[float]:
    return [float(np.mean([(W @ x).argmax() == c for x, c in zip(s.test_inputs, s.test_labels, strict=True)]))
            for s in stream]  # fmt: skip


def hlop(subject, stream, options) -> list[list[float]]:
    """Return the accuracy after and on every task; the layer's first weights are those that torch draws of seed 0."""
    torch.manual_seed(0)
    subject.module.reset_parameters()
    W = subject.module.weight.detach().numpy().copy()
    N = W.shape[1]
    Q, A = np.zeros((0, N)), [rate(W, stream)]
    for t, stage in enumerate(stream):
        draw = np.random.default_rng((0, t))
        G = draw.standard_normal((N, min(options.rows, N - len(Q))))
        Q_new = np.linalg.qr(G - Q.T @ Q @ G)[0].T
        V = np.zeros_like(Q_new)
        for _ in range(options.passes):
            order = draw.permutation(len(stage.labels))
            for rows in np.array_split(order, len(order) // options.batch):
                B, dW = len(rows), np.zeros_like(W)
                for x, c in zip(stage.inputs[rows], stage.labels[rows], strict=True):
                    p = np.exp(W @ x)
                    delta = np.eye(len(W))[c] - p / p.sum()
                    x_perp = x - Q.T @ (Q @ x)
                    dW += np.outer(delta, x_perp) / B
                W = W + options.rate * dW
                for _ in range(options.iterations):
                    dQ = np.zeros_like(Q_new)
                    for x in stage.inputs[rows]:
                        y_new = Q_new @ x
                        x_hat = Q.T @ (Q @ x) + Q_new.T @ y_new
                        dQ += np.outer(y_new, x - x_hat) / B
                    V = options.momentum * V + np.clip(dQ, -options.clip, options.clip)
                    Q_new = Q_new + options.row_rate * V
        Q = np.concatenate([Q, Q_new])
        A.append(rate(W, stream))
    return A
