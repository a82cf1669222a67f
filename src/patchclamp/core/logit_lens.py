"""What a language model would answer at every depth, token by token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.table import Matrix, Table, Tabular


@checked
@dataclass(frozen=True, eq=False, repr=False)
class LogitLens(Tabular):
    """Hold the next tokens that the residual stream says after every block, through the final norm and unembedding.

    Args:
        subject: the model's name.
        tokens: the text's tokens, one per position.
        sites: where the stream was read, in forward order; the last row is what the model itself answers.
        ids: ``(site, position, top)`` the likeliest next tokens, the likeliest first.
        probabilities: ``(site, position, top)`` of these.
        words: token id to its text, of every id here.
        target: a token that was asked for; None without one.
        ranks: ``(site, position)`` place of the target among all tokens, 1 for the likeliest; empty without a target.
        log_probabilities: ``(site, position)`` log P(target), in nats; empty without a target.
        changes: how many interventions were in force.
    """

    subject: str
    tokens: tuple[str, ...]
    sites: tuple[str, ...]
    ids: Int[np.ndarray, "site position top"]
    probabilities: Float[np.ndarray, "site position top"]
    words: Mapping[int, str] = field(default_factory=dict)
    target: Natural | None = None
    ranks: Int[np.ndarray, "site position"] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    log_probabilities: Float[np.ndarray, "site position"] = field(default_factory=lambda: np.zeros((0, 0)))
    changes: Natural = 0

    def top(self, site: str, position: int) -> list[tuple[str, float]]:
        """Return the likeliest next tokens at one place, with their probabilities.

        Raises:
            ValueError: no such site.
            IndexError: no such position.
        """
        row = self.sites.index(site)
        pairs = zip(self.ids[row, position].tolist(), self.probabilities[row, position].tolist(), strict=True)
        return [(self.words[id], p) for id, p in pairs]

    def table(self, top: int | None = None) -> Table:
        """Return a row for every place, the last token first: how its answer forms from site to site."""
        targeted = self.target is not None
        columns = ["position", "token", "site", "likeliest", "probability"]
        columns += ["rank of the target", "log-probability of the target"] if targeted else []
        n_sites = len(self.sites)
        total = n_sites * len(self.tokens)
        rows: list[tuple[Any, ...]] = []
        for at in range(total)[:top]:
            position, row = len(self.tokens) - 1 - at // n_sites, at % n_sites
            cells: list[Any] = [position, self.tokens[position], self.sites[row]]
            cells += [self.words[int(self.ids[row, position, 0])], float(self.probabilities[row, position, 0])]
            if targeted:
                cells += [int(self.ranks[row, position]), float(self.log_probabilities[row, position])]
            rows.append(tuple(cells))
        return Table(self._title, tuple(columns), tuple(rows), total, ("site", "probability"))

    def heat_map(self) -> Matrix:
        """Return the likeliest token of every place with its probability; of a target its probability and rank."""
        positions = tuple(f"{i} {token}" for i, token in enumerate(self.tokens))
        if self.target is not None:
            labels = [[str(rank) for rank in row] for row in self.ranks.tolist()]
            name = f"P({self.words[self.target]!r}); its rank in each cell"
            return Matrix(self._title, self.sites, positions, np.exp(self.log_probabilities), name, labels)
        labels = [[self.words[id] for id in row] for row in self.ids[..., 0].tolist()]
        return Matrix(
            self._title, self.sites, positions, self.probabilities[..., 0], "probability of the likeliest", labels
        )

    @property
    def _title(self) -> str:
        target = "" if self.target is None else f", target {self.words[self.target]!r}"
        changed = f", {self.changes} interventions" if self.changes else ""
        return f"logit lens of {self.subject}: {len(self.sites)} sites, {len(self.tokens)} tokens{target}{changed}"
