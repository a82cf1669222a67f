"""Each unit's nearest others, all pairs compared at once in double precision."""

import numpy as np


def unit_rows(x):
    """Rows of length 1; rows of nothing stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def nearest(product, most=8, nothing=1e-6):
    """By row: ids and products of the largest, what is forbidden being -inf; equals in the order of ids."""
    found = []
    for row in product.astype(np.float32):
        order = np.lexsort((np.arange(len(row)), -row))[:most]
        kept = [i for i in order if np.isfinite(row[i]) and abs(row[i]) >= nothing]
        found.append((kept, row[kept]))
    return found


def similar(write):
    product = unit_rows(write) @ unit_rows(write).T
    np.fill_diagonal(product, -np.inf)
    return nearest(product)


def together(sample):
    centred = unit_rows(sample - sample.mean(1, keepdims=True))
    product = centred @ centred.T
    np.fill_diagonal(product, -np.inf)
    return nearest(product)


def driven_by(read, write, layer):
    product = read @ write.T
    product[layer[None] >= layer[:, None]] = -np.inf
    return nearest(product)
