"""How the logit lenses of two networks differ, layer by layer over one text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.estimate import Estimate
from patchclamp.core.json_text import read_list, read_mapping, read_number, read_whole, read_word
from patchclamp.core.plain_names import name_site
from patchclamp.core.plain_numbers import format_general
from patchclamp.core.table import Table, Tabular

SAME = 1e-6
"""Mean KL divergence in nats below which two networks say the same: rounding reaches it."""

Likely = tuple[tuple[str, float], ...]
"""Next tokens with their probabilities, the likeliest first."""


@checked
@dataclass(frozen=True)
class LensPlace:
    """One place of the text where two lenses differ.

    Args:
        context: the text up to and with the token there.
        stimulus: which stimulus, counted from 0.
        position: of the token.
        divergence: KL divergence of the next token, in nats.
        first: what the first lens finds likeliest,
        second: and the second.
    """

    context: str
    stimulus: Natural
    position: Natural
    divergence: float
    first: Likely
    second: Likely


@checked
@dataclass(frozen=True)
class LensLayer:
    """How far two lenses differ at one depth.

    Args:
        sites: where the stream of the first and of the second was read.
        divergence: mean KL divergence of the next token, first from second, its interval over stimuli.
        agreement: share of tokens after which both find the same token likeliest.
        places: the places that differ most, the most different first, each after another token.
    """

    sites: tuple[str, str]
    divergence: Estimate
    agreement: float
    places: tuple[LensPlace, ...] = ()


@checked
@dataclass(frozen=True, eq=False, repr=False)
class LensDifference(Tabular):
    """Hold how the logit lenses of two networks differ.

    Args:
        layers: in forward order, from what the first block reads to what the networks themselves answer; empty where a
            network has no logit lens. Layers of networks of unequal depth are paired by their relative depth.
        n_tokens: tokens over which the lenses were compared.
    """

    layers: tuple[LensLayer, ...] = ()
    n_tokens: Natural = 0

    @property
    def part(self) -> int | None:
        """The layer where they part: the first whose mean divergence is above rounding; None where none is."""
        return next((i for i, layer in enumerate(self.layers) if layer.divergence.value >= SAME), None)

    @property
    def largest(self) -> int | None:
        """The layer where they differ most; None where they differ nowhere."""
        if self.part is None:
            return None
        return max(range(len(self.layers)), key=lambda i: self.layers[i].divergence.value)

    @property
    def sentence(self) -> str:
        """The difference in one sentence."""
        if not self.layers:
            return "No logit lens was compared."
        if self.part is None or self.largest is None:
            return f"Their logit lenses are the same at all {len(self.layers)} depths."
        at, most = (self.layers[i] for i in (self.part, self.largest))
        parts = f"part at {name_site(at.sites[0])} (mean KL {_nats(at)})"
        if self.part:
            parts = f"are the same up to {name_site(self.layers[self.part - 1].sites[0])} and {parts}"
        more = "" if most is at else f"; they differ most at {name_site(most.sites[0])} ({_nats(most)})"
        return f"Their logit lenses {parts}{more}."

    def table(self, top: int | None = None) -> Table:
        """Return the layers as a table, in forward order."""
        rows = tuple(
            (layer.sites[0], layer.divergence.value, layer.divergence.low, layer.divergence.high, layer.agreement)
            for layer in self.layers[:top]
        )
        columns = ("layer", "mean KL, nats", "low", "high", "same likeliest")
        return Table(self.sentence, columns, rows, len(self.layers), columns[:2], ("low", "high"))

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON-ready data."""
        layers = [{**asdict(layer), "divergence": layer.divergence.to_json()} for layer in self.layers]
        return {"layers": layers, "n_tokens": self.n_tokens, "part": self.part, "largest": self.largest}

    @classmethod
    def from_json(cls, data: Any) -> "LensDifference":
        """Read a difference; the inverse of ``to_json``.

        Raises:
            PatchclampError, ValueError, TypeError, KeyError: it is something else.
        """
        whole = read_mapping(data)
        layers = []
        for layer in map(read_mapping, read_list(whole["layers"])):
            one, other = map(read_word, read_list(layer["sites"]))
            places = tuple(_read_place(read_mapping(place)) for place in read_list(layer["places"]))
            estimate = Estimate.from_json(read_mapping(layer["divergence"]))
            layers.append(LensLayer((one, other), estimate, read_number(layer["agreement"]), places))
        return cls(tuple(layers), read_whole(whole["n_tokens"]))


def _read_place(data: Mapping[str, Any]) -> LensPlace:
    first, second = (
        tuple((read_word(word), read_number(p)) for word, p in map(read_list, read_list(data[name])))
        for name in ("first", "second")
    )
    return LensPlace(
        read_word(data["context"]), read_whole(data["stimulus"]), read_whole(data["position"]),
        read_number(data["divergence"]), first, second,
    )  # fmt: skip


def _nats(layer: LensLayer) -> str:
    return f"{format_general(layer.divergence.value)} nats"
