"""What an explanation takes, before anything is run."""

from collections.abc import Sequence
from dataclasses import dataclass

from patchclamp.attribute.gradients import ROWS as PATH_ROWS
from patchclamp.attribute.nodes import BYTES_PER_NODE, level_sites, unit_blocks
from patchclamp.attribute.rules import Gradient, PathIntegral, Replacement, find_rule
from patchclamp.core.keys import UnitIndex
from patchclamp.recipes.receipts import N_ORDERS, NEAR_ZERO, OTHERS, STRONGEST, count_rows, set_bytes
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.memory import count_fitting
from patchclamp.subjects.model import Model
from patchclamp.subjects.pass_memory import count_backward_bytes

BACKWARD = 2.0
"""Forward passes that the backward pass of a row is worth: of frozen weights one product, and what was kept is read."""
BYTES_OF_ORDERS = 8 * (N_ORDERS + 5)
"""Of each unit while receipts are measured: score, size and activation, and its rank in every order."""


@dataclass(frozen=True)
class ExplanationCost:
    """Hold what an explanation takes; the rows of its edges are not among them.

    Args:
        units: that are scored, at all positions.
        scoring: the passes of the scores, in words.
        receipts: rows of forward passes of the receipts.
        forwards: how many forward passes of the prompt all of it is worth.
        bytes: memory besides the network's own.
        path_rows: rows of a forward and backward pass that run together.
        receipt_rows: rows of a forward pass that run together.
    """

    units: int
    scoring: str
    receipts: int
    forwards: float
    bytes: int
    path_rows: int
    receipt_rows: int


def cost_of_explanation(
    model: Model,
    n_positions: int,
    *,
    method: str,
    levels: Sequence[str] | None = None,
    top: int = 20,
    n_controls: int = 99,
    batch_size: int | None = None,
) -> ExplanationCost:
    """Count the passes and bytes that ``explain`` takes; nothing is run.

    Args:
        model: the subject.
        n_positions: length of the prompt.
        method: how units are scored.
        levels: what is scored.
        top: how many causes are replaced.
        n_controls: random sets.
        batch_size: rows that run together, at most; the default is what memory holds.

    Returns:
        ExplanationCost: passes, memory, and time in forward passes of the prompt.

    Example:
        >>> from patchclamp.loaders import load
        >>> cost = cost_of_explanation(load("organism:cat"), 4, method="integrated_gradients")
        >>> cost.units, cost.scoring, cost.receipts
        (160, '40 rows of backward passes', 252)
    """
    names = model.levels if levels is None else levels
    sites = level_sites(model, names)
    index = UnitIndex(unit_blocks(model, sites, n_positions))
    units = len(index)
    device = str(model.device)
    per_row, per_receipt = count_backward_bytes(model, n_positions), set_bytes(model, n_positions, index)
    path_rows = batch_size or count_fitting(per_row, PATH_ROWS, device)
    receipt_rows = batch_size or count_fitting(per_receipt, ROWS, device)
    shares = [1 - (model.first_layer(path) if model.restarts else 0) / max(model.n_layers, 1) for path in sites]
    _, rule = find_rule(method)
    scoring, forwards, at_once = "1 forward pass", 2.0, 0
    if isinstance(rule, Gradient):
        n_forward, n_backward = rule.passes
        scoring = f"{n_backward:,} backward pass{'es' * (n_backward != 1)}"
        forwards, at_once = 1 + n_forward + BACKWARD * n_backward, min(n_backward, PATH_ROWS)
    elif isinstance(rule, Replacement):
        scoring, forwards = f"{units:,} rows of forward passes", 1 + units * sum(shares) / max(len(shares), 1)
    elif isinstance(rule, PathIntegral):
        scoring = f"{rule.steps * len(sites):,} rows of backward passes"
        # Beside the path each site is replaced as a whole.
        forwards, at_once = 2 + sum(shares) * (rule.steps * (1 + BACKWARD) + 1), min(rule.steps, path_rows)
    direct = not model.indirect
    receipts = count_rows(units, top=top, n_controls=n_controls, direct=direct)
    n_single = min(units, STRONGEST + OTHERS + NEAR_ZERO) + min(top, units)
    forwards += receipts - n_single * (1 - sum(shares) / max(len(shares), 1)) + (2 + BACKWARD) * direct
    scored = BYTES_PER_NODE * units + at_once * per_row
    measured = BYTES_OF_ORDERS * units + min(receipt_rows, receipts) * per_receipt
    return ExplanationCost(units, scoring, receipts, forwards, max(scored, measured), path_rows, receipt_rows)
