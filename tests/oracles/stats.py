"""Slow definitions of the statistics in patchclamp.core.stats, one plain loop at a time."""

import itertools
import math


def pearson(x, y):
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    xx = math.fsum((a - mean_x) ** 2 for a in x)
    yy = math.fsum((b - mean_y) ** 2 for b in y)
    return xy / math.sqrt(xx * yy) if xx and yy else math.nan


def rank(x):
    """One plus the values below, plus half the other values that are equal."""
    return [sum(b < a for b in x) + (sum(b == a for b in x) + 1) / 2 for a in x]


def spearman(x, y):
    return pearson(rank(x), rank(y))


def slope(x, y):
    """Solve the two normal equations for y = intercept + slope x by Cramer's rule."""
    n, sum_x, sum_y = len(x), math.fsum(x), math.fsum(y)
    sum_xx = math.fsum(a * a for a in x)
    sum_xy = math.fsum(a * b for a, b in zip(x, y, strict=True))
    return (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x)


def auroc(scores, labels):
    """Count the positive-negative pairs that are in order, ties as half."""
    wins, pairs = 0.0, 0
    for score, label in zip(scores, labels, strict=True):
        for other, other_label in zip(scores, labels, strict=True):
            if label and not other_label:
                pairs += 1
                wins += 1.0 if score > other else 0.5 if score == other else 0.0
    return wins / pairs


def quantile(values, probability):
    """Interpolate linearly between the order statistics around position (n - 1) p."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * probability
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def bootstrap_ends(values, statistic, n_resamples, level, rng):
    """Draw one row at a time from rng (a numpy Generator) and take percentiles."""
    draws = []
    for _ in range(n_resamples):
        chosen = rng.integers(0, len(values), size=len(values))
        draws.append(statistic([values[i] for i in chosen]))
    return quantile(draws, (1 - level) / 2), quantile(draws, (1 + level) / 2)


def wilson_ends(successes, n, z):
    """Bisect for the proportions whose score test statistic is z."""

    def crossing(inside, outside):
        for _ in range(200):
            middle = (inside + outside) / 2
            if abs(successes / n - middle) <= z * math.sqrt(middle * (1 - middle) / n):
                inside = middle
            else:
                outside = middle
        return inside

    return crossing(successes / n, 0.0), crossing(successes / n, 1.0)


def permutation_p(x, y, statistic, n_permutations, rng):
    """Shuffle y with rng (a numpy Generator); for statistics whose ties are exact."""
    observed = abs(statistic(x, y))
    extreme = 0
    for _ in range(n_permutations):
        extreme += abs(statistic(x, [float(b) for b in rng.permutation(y)])) >= observed
    return (1 + extreme) / (1 + n_permutations)


def permutation_share(x, y, statistic):
    """Share of all orderings of y that are at least as extreme as the one given."""
    observed = abs(statistic(x, y))
    orderings = list(itertools.permutations(y))
    return sum(abs(statistic(x, list(order))) >= observed for order in orderings) / len(orderings)


def sign_flip_p(differences, n_permutations, rng):
    """Flip signs with rng (a numpy Generator); for differences whose sums are exact."""
    extreme = 0
    for _ in range(n_permutations):
        total = 0.0
        for keep, difference in zip(rng.integers(0, 2, len(differences)), differences, strict=True):
            total += difference if keep else -difference
        extreme += abs(total) >= abs(sum(differences))
    return (1 + extreme) / (1 + n_permutations)


def sign_flip_share(differences):
    """Share of all sign patterns that are at least as extreme as the one given."""
    extreme = 0
    for signs in itertools.product((-1, 1), repeat=len(differences)):
        total = sum(sign * difference for sign, difference in zip(signs, differences, strict=True))
        extreme += abs(total) >= abs(sum(differences))
    return extreme / 2 ** len(differences)


def rank_of(value, controls):
    extreme = 1
    for control in controls:
        if max(control, -control) >= max(value, -value):
            extreme += 1
    return extreme / (1 + len(controls))
