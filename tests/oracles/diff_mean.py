"""Difference of means by the letter: token by token, text by text."""

import numpy as np


def diff_mean(subject, task, options) -> np.ndarray:
    """Return d = (μ₊ − μ₋) / ‖μ₊ − μ₋‖ over all tokens but the first (BOS) of each text."""
    wanted = options.wanted or task.cases[0].label
    n = len([site for site in subject.sites() if site.kind == "resid_out"])
    site = options.sites or f"blocks.{n // 2}.resid_out"
    tokens = {True: [], False: []}
    for case in task.cases:
        values = subject.run(case.shown, record=site, logits=False).recording[site].double().numpy()
        for row in values[1:]:
            tokens[case.label == wanted].append(row)
    difference = sum(tokens[True]) / len(tokens[True]) - sum(tokens[False]) / len(tokens[False])
    return difference / np.sqrt(sum(x * x for x in difference))
