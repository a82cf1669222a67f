"""A fitted map from one recording's activity to another's, or to labels, with its scores on held-out rows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.conditions import condition_matrix, only_site
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.json_text import read_list, read_word
from patchclamp.core.noun_folder import load_noun
from patchclamp.core.provenance import Provenance
from patchclamp.core.recording import Recording
from patchclamp.core.stats import pearson
from patchclamp.core.table import Table, Tabular, estimate_table

FOLDER = "readout"


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Readout(Tabular):
    r"""Hold a linear map ŷ = (x − μ) W + b from features to targets, fitted on all rows, and what it scored held out.

    Args:
        weights: W, ``(feature, target)``.
        centre: μ, ``(feature,)``.
        intercept: b, ``(target,)``.
        features: name and site of what is read.
        targets: name and site of what is predicted.
        names: ``(target,)`` names of the targets.
        scores: ``(target,)`` held-out estimates, each with its null and where it can be known its ceiling.
        summary: the mean over targets, with its interval.
        predicted: ``(row, target)`` held-out predictions, of labels the discriminant of each class (the largest wins);
            NaN in rows that no fold scores.
        pool: how the rows of a stimulus became one.
        provenance: what made it.

    Raises:
        PatchclampError: parts that do not fit together.

    Example:
        >>> one = Readout(np.ones((2, 1)), np.zeros(2), np.zeros(1), ("a", "a"), ("b", "b"))
        >>> one.predict(np.array([[1.0, 2.0]])).tolist()
        [[3.0]]
    """

    weights: Float[np.ndarray, "feature target"]
    centre: Float[np.ndarray, " feature"]
    intercept: Float[np.ndarray, " target"]
    features: tuple[str, str]
    targets: tuple[str, str]
    names: tuple[str, ...] = ()
    scores: tuple[Estimate, ...] = ()
    summary: Estimate | None = None
    predicted: Float[np.ndarray, "row target"] | None = None
    pool: str = "mean"
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        n_features, n_targets = self.weights.shape
        fits = self.centre.shape == (n_features,) and self.intercept.shape == (n_targets,)
        listed = {len(self.names), len(self.scores)} if self.scores else {len(self.names) or n_targets}
        if not fits or listed != {n_targets}:
            raise PatchclampError(
                expected=f"a centre of {n_features}, an intercept, names and scores of {n_targets}",
                got=f"{self.centre.shape}, {self.intercept.shape}, {len(self.names)} and {len(self.scores)}",
                remedy="See the formula in Readout's documentation.",
            )

    def predict(self, features: Recording | Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row target"]:
        """Return what the map predicts of features, row by row (of a Recording stimulus by stimulus).

        Raises:
            PatchclampError: another number of features than it was fitted on.
        """
        if isinstance(features, Recording):
            site = only_site(features, self.features[1] if self.features[1] in features.values else "")
            features = condition_matrix(features, site, "last" if self.pool == "last" else "mean")
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise PatchclampError(
                expected=f"rows of {len(self.centre)} features",
                got=f"shape {features.shape}",
                remedy="Record the site that it was fitted on.",
            )
        predicted: np.ndarray = (features - self.centre) @ self.weights + self.intercept
        return predicted

    def score(
        self, features: Recording | Float[np.ndarray, "row feature"], targets: Float[np.ndarray, "row target"]
    ) -> Float[np.ndarray, " target"]:
        """Return Pearson's r of predicted and true targets on rows not fitted on; nan where one is constant.

        Raises:
            PatchclampError: shapes that do not fit.
        """
        predicted = self.predict(features)
        if predicted.shape != targets.shape:
            raise PatchclampError(
                expected=f"targets of shape {predicted.shape}",
                got=f"{targets.shape}",
                remedy="Give a row per stimulus.",
            )
        return np.array([pearson(predicted[:, k], targets[:, k]) for k in range(predicted.shape[1])])

    def table(self, top: int | None = None) -> Table:
        """Return the held-out score of each target as a table, with interval, p and ceiling."""
        title = f"{' '.join(self.features)} → {' '.join(self.targets)}"
        title += f": {self.summary}" if self.summary is not None else ""
        names = self.names or tuple(map(str, range(self.weights.shape[1])))
        return estimate_table(title, dict(zip(names, self.scores, strict=False)), "target", top)

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return the summary and the first ``limit`` targets as JSON-ready data; arrays stay in bundles."""
        return {
            "features": list(self.features),
            "targets": list(self.targets),
            "n_features": len(self.centre),
            "n_targets": len(self.intercept),
            "pool": self.pool,
            "summary": None if self.summary is None else self.summary.to_json(),
            "scores": [
                {"target": name, **score.to_json()}
                for name, score in zip(self.names[:limit], self.scores[:limit], strict=False)
            ],
            "provenance": self.provenance.to_json(),
        }

    def save(self, folder: str | Path) -> None:
        """Write the readout to a new or empty folder, whole or not at all.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        arrays = {"weights": self.weights, "centre": self.centre, "intercept": self.intercept}
        if self.predicted is not None:
            arrays["predicted"] = self.predicted
        manifest = {
            "features": list(self.features),
            "targets": list(self.targets),
            "names": list(self.names),
            "scores": [score.to_json() for score in self.scores],
            "pool": self.pool,
            "summary": None if self.summary is None else self.summary.to_json(),
            "provenance": self.provenance.to_json(),
        }
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
            bundle.append("readout", arrays)
            bundle.finish()

    @classmethod
    def load(cls, folder: str | Path) -> "Readout":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no readout there.
            Damaged: a part is missing or changed.
        """
        return load_noun(folder, FOLDER, cls._of)

    @classmethod
    def _of(cls, bundle: Bundle) -> "Readout":
        arrays, manifest = bundle.read("readout"), bundle.manifest
        return cls(
            arrays["weights"],
            arrays["centre"],
            arrays["intercept"],
            _two(manifest["features"]),
            _two(manifest["targets"]),
            tuple(map(read_word, read_list(manifest["names"]))),
            tuple(Estimate.from_json(one) for one in manifest["scores"]),
            None if manifest["summary"] is None else Estimate.from_json(manifest["summary"]),
            arrays.get("predicted"),
            read_word(manifest["pool"]),
            Provenance.from_json(manifest["provenance"]),
        )


def _two(value: Any) -> tuple[str, str]:
    first, second = value
    return read_word(first), read_word(second)
