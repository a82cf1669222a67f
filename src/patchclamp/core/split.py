"""Which rows are fitted and which are scored, so that nothing leaks from one into the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError


@checked
@dataclass(frozen=True, eq=False)
class Split:
    """Part rows into folds: each is scored once by what was fitted on the others, less a gap on both sides.

    Rows of one time course that stand side by side are nearly equal, so that a random sample of them is no test: a
    split is made of blocks in time, or of whole groups (runs, sessions, people, conditions) that are left out.

    Args:
        fold: ``(row,)`` the fold that each row is scored in; −1 for rows that are never scored.
        gap: rows before and after each scored block that are not fitted on.
        rule: how the folds were made, in words.
        course: ``(row,)`` which time course each row is of; a gap does not reach across courses. None for one course.

    Raises:
        PatchclampError: fewer than two folds, a fold whose rows leave nothing to fit on, or folds that alternate within
            one time course, as a random sample does.

    Example:
        >>> split = Split.blocks(8, folds=2, gap=1)
        >>> [(fit.tolist(), score.tolist()) for fit, score in split]
        [([5, 6, 7], [0, 1, 2, 3]), ([0, 1, 2], [4, 5, 6, 7])]
    """

    fold: Int[np.ndarray, " row"]
    gap: Natural = 0
    rule: str = "blocks"
    course: Int[np.ndarray, " row"] | None = None

    def __post_init__(self) -> None:
        folds = np.unique(self.fold[self.fold >= 0])
        if len(folds) < 2:
            raise PatchclampError(
                expected="at least two folds",
                got=str(len(folds)),
                remedy="Cut the rows into more, or name more groups.",
            )
        if self.course is None:
            self._refuse_samples(len(folds))
        empty = [int(k) for k, (fit, _) in zip(folds, self, strict=True) if not len(fit)]
        if empty:
            raise PatchclampError(
                expected="rows to fit on beside every fold",
                got=f"none beside fold {empty[0]}: the gap of {self.gap} takes them all",
                remedy="Make the gap smaller, or the folds fewer.",
            )

    def _refuse_samples(self, n_folds: int) -> None:
        """Refuse folds that change more often from row to row than whole groups or blocks would."""
        n_runs = 1 + int((np.diff(self.fold) != 0).sum())
        if len(self.fold) > 2 * n_folds and n_runs > len(self.fold) / 2:
            raise PatchclampError(
                expected="folds of rows that stand together",
                got=f"{n_runs} changes of fold over {len(self.fold)} rows of one time course",
                remedy="Neighbouring rows are nearly equal: use Split.blocks(n, gap=…). Where rows are separate "
                "conditions, shown in random order, use Split.leave_out(labels, apart=True).",
            )

    @classmethod
    def blocks(cls, n_rows: Positive, *, folds: Positive = 5, gap: Natural = 0) -> "Split":
        """Return a split of one time course into blocks of nearly equal length.

        Args:
            n_rows: rows in all.
            folds: blocks.
            gap: rows beside a scored block that are not fitted on: at least as long as the signal's memory.

        Returns:
            Split: row i lies in block ``i * folds // n_rows``.

        Example:
            >>> Split.blocks(6, folds=3).fold.tolist()
            [0, 0, 1, 1, 2, 2]
        """
        return cls(np.arange(n_rows) * folds // n_rows, gap, f"{folds} blocks in time, gap {gap}")

    @classmethod
    def leave_out(cls, labels: Sequence[object] | np.ndarray, *, apart: bool = False) -> "Split":
        """Return a split that leaves out one group at a time: a run, a session, a person, a condition.

        Args:
            labels: ``(row,)`` whose each row is.
            apart: rows are separate trials, so that neighbours share nothing; else groups must stand together.
        """
        names, fold = np.unique([str(label) for label in labels], return_inverse=True)
        course = np.arange(len(fold)) if apart else None
        return cls(fold.astype(np.int64), 0, f"each of {len(names)} groups left out in turn", course)

    def __len__(self) -> int:
        return len(np.unique(self.fold[self.fold >= 0]))

    def __iter__(self) -> Iterator[tuple[Int[np.ndarray, " fit"], Int[np.ndarray, " score"]]]:
        """Yield the rows that are fitted on, and those that are scored, fold by fold."""
        rows = np.arange(len(self.fold))
        course = np.zeros(len(rows), dtype=np.int64) if self.course is None else self.course
        for k in np.unique(self.fold[self.fold >= 0]):
            scored = self.fold == k
            near = scored.copy()
            for shift in range(1, min(self.gap, len(rows) - 1) + 1):
                # A row is near where one within the gap, of the same time course, is scored.
                near[shift:] |= scored[:-shift] & (course[shift:] == course[:-shift])
                near[:-shift] |= scored[shift:] & (course[:-shift] == course[shift:])
            yield rows[~near], rows[scored]
