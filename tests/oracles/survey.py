"""What a survey says about one unit, from all its activations: a plain list of (value, stimulus, position) in order."""

import math

from oracles.stats import quantile


def statistics(tokens):
    """Mean, population variance, extremes and the share above 0."""
    values = [value for value, _, _ in tokens]
    mean = math.fsum(values) / len(values)
    return {
        "mean": mean,
        "variance": math.fsum((value - mean) ** 2 for value in values) / len(values),
        "minimum": min(values),
        "maximum": max(values),
        "active": sum(value > 0 for value in values) / len(values),
    }


def minimum_at(tokens):
    """Where the lowest value stands: the first of equals."""
    lowest = min(value for value, _, _ in tokens)
    return next((stimulus, position) for value, stimulus, position in tokens if value == lowest)


def top(tokens, n):
    """The best token of each stimulus, highest first; of equals the earlier one."""
    best = {}
    for value, stimulus, position in tokens:
        if stimulus not in best or value > best[stimulus][0]:
            best[stimulus] = (value, stimulus, position)
    return sorted(best.values(), key=lambda token: (-token[0], token[1]))[:n]


def quantiles(tokens, probabilities):
    return [quantile([value for value, _, _ in tokens], p) for p in probabilities]


def decile_values(tokens, n=10):
    """The value in the middle of each tenth of the sorted values."""
    ordered = sorted(value for value, _, _ in tokens)
    return [ordered[int((d + 0.5) / n * len(ordered))] for d in range(n)]
