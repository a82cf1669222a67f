"""Random sets of like size, drawn the plain way: one key after another, deciles counted anew for each."""

import numpy as np


def decile(sizes, i):
    """Return the decile of one size among all, equal ones in the order in which they stand."""
    smaller = sum(x < sizes[i] for x in sizes) + sum(x == sizes[i] for x in sizes[:i])
    return smaller * 10 // len(sizes)


def like_sets(sizes, chosen, n_sets, seed, tries=10):
    """Draw sets like the chosen ``(place, unit)`` from ``{place: sizes}``, and the share from another decile."""
    draw, found = np.random.default_rng(seed), {}
    deciles = {place: [decile(own, i) for i in range(len(own))] for place, own in sizes.items()}
    for _ in range(n_sets * tries):
        one, outside = [], 0
        for place in dict.fromkeys(place for place, _ in chosen):
            free = [u for u in range(len(sizes[place])) if (place, u) not in chosen]
            for unit in [u for p, u in chosen if p == place]:
                far = {u: abs(deciles[place][u] - deciles[place][unit]) for u in free}
                reach = sorted(far.values())[:5][-1]
                picked = int(draw.choice([u for u in free if far[u] <= reach]))
                free.remove(picked)
                one.append((place, picked))
                outside += far[picked] > 0
        found.setdefault(frozenset(one), (one, outside))
        if len(found) == n_sets:
            break
    sets = [one for one, _ in found.values()]
    return sets, sum(n for _, n in found.values()) / sum(map(len, sets))
