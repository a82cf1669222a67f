"""Every kind of metric against its formula, one row and one token at a time, in NumPy and in PyTorch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3.0, size=(4, 1, 9))
SEQUENCE = RNG.normal(scale=3.0, size=(4, 3, 9))
REFERENCE = tuple(RNG.normal(scale=3.0, size=9).tolist())


def probabilities(z):
    total = math.fsum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def plain(metric, rows):
    """Return the metric of one row of ``(read position, token)`` logits, from the table in its documentation."""
    z, t, c = rows[0], metric.target, metric.contrast
    p = probabilities(z)
    if metric.kind == "logit":
        return sum(z[i] for i in t) / len(t)
    if metric.kind == "logit_difference":
        return sum(z[i] for i in t) / len(t) - sum(z[i] for i in c) / len(c)
    if metric.kind == "log_probability":
        return math.log(sum(p[i] for i in t))
    if metric.kind == "probability_difference":
        return sum(p[i] for i in t) - sum(p[i] for i in c)
    if metric.kind == "sequence_log_probability":
        return sum(math.log(probabilities(row)[i]) for row, i in zip(rows, t, strict=True))
    q = probabilities(metric.reference)
    return sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))


CASES = [
    (Metric("logit", (4,)), LOGITS),
    (Metric("logit", (4, 1, 7)), LOGITS),
    (Metric("logit_difference", (4,), (2,)), LOGITS),
    (Metric("logit_difference", (4, 1), (2, 3, 0)), LOGITS),
    (Metric("log_probability", (5,)), LOGITS),
    (Metric("log_probability", (5, 6)), LOGITS),
    (Metric("probability_difference", (5, 6), (1,)), LOGITS),
    (Metric("sequence_log_probability", (3, 3, 8), positions=(-3, -2, -1)), SEQUENCE),
    (Metric("kl", reference=REFERENCE), LOGITS),
]
IDS = [f"{m.kind}-{len(m.target)}" for m, _ in CASES]


@pytest.mark.parametrize(("metric", "logits"), CASES, ids=IDS)
def test_a_metric_equals_its_formula(metric, logits):
    expected = [plain(metric, rows.tolist()) for rows in logits]
    assert np.allclose(metric(logits), expected, rtol=1e-12, atol=1e-12)
    found = metric(torch.from_numpy(logits))
    assert found.dtype == torch.float64
    assert np.allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    single = metric(torch.from_numpy(logits).float())
    assert single.dtype == torch.float32
    assert np.allclose(single.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("metric", "logits"), CASES, ids=IDS)
def test_a_metric_has_the_gradient_of_its_formula(metric, logits):
    z = torch.from_numpy(logits).requires_grad_(True)
    metric(z).sum().backward()
    step = 1e-6
    for row, place, token in [(0, 0, 4), (1, 0, 2), (3, logits.shape[1] - 1, 5), (2, 0, 1)]:
        ends = []
        for sign in (1, -1):
            moved = logits[row].copy()
            moved[place, token] += sign * step
            ends.append(plain(metric, moved.tolist()))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(z.grad[row, place, token]), abs=1e-6)


@pytest.mark.parametrize(("metric", "logits"), CASES, ids=IDS)
def test_a_metric_survives_json_and_shifts(metric, logits):
    assert Metric(**{k: tuple(v) if isinstance(v, list) else v for k, v in metric.to_json().items()}) == metric
    # A constant added to every logit changes logits, and nothing that is read from probabilities or differences.
    moved = metric(logits + 500.0) - metric(logits)
    assert np.allclose(moved, 500.0 if metric.kind == "logit" else 0.0, atol=1e-9)


def test_large_logits_do_not_overflow():
    z = torch.tensor([[[1e4, 0.0, -1e4]]])
    assert float(Metric("log_probability", (0,))(z)) == 0.0
    assert float(Metric("log_probability", (2,))(z)) == -2e4
    assert float(Metric("probability_difference", (0,), (1,))(z)) == 1.0
    assert float(Metric("kl", reference=(1e4, 0.0, -1e4))(z)) == 0.0


def test_kl_is_zero_at_its_reference_and_positive_elsewhere():
    metric = Metric("kl", reference=REFERENCE)
    assert float(metric(np.array(REFERENCE)[None, None])[0]) == pytest.approx(0.0, abs=1e-12)
    assert (metric(LOGITS) > 0.1).all()


@pytest.mark.parametrize("metric", [m for m, _ in CASES if m.kind != "sequence_log_probability"], ids=lambda m: m.kind)
def test_a_metric_of_several_positions_is_its_mean_over_them(metric):
    several = replace(metric, positions=(-3, 0, -1))
    expected = [sum(plain(metric, [row.tolist()]) for row in rows) / 3 for rows in SEQUENCE]
    assert np.allclose(several(SEQUENCE), expected, rtol=1e-12, atol=1e-12)
    assert np.allclose(several(torch.from_numpy(SEQUENCE)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "parts",
    [
        {"kind": "logit"},
        {"kind": "logit", "target": (1,), "contrast": (2,)},
        {"kind": "logit_difference", "target": (1,)},
        {"kind": "logit_difference", "contrast": (1,)},
        {"kind": "probability_difference", "target": (1,)},
        {"kind": "log_probability", "target": (1,), "positions": ()},
        {"kind": "sequence_log_probability", "target": (1, 2), "positions": (-1,)},
        {"kind": "kl"},
        {"kind": "kl", "reference": REFERENCE, "positions": ()},
    ],
)
def test_a_metric_whose_parts_do_not_fit_is_refused(parts):
    with pytest.raises(PatchclampError):
        Metric(**parts)


def test_a_contrast_equal_to_the_target_explains_nothing():
    with pytest.raises(PatchclampError):
        Metric("logit_difference", (1, 2), (2, 1))
