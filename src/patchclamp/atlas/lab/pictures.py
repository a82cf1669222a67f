"""The model of images beside its atlas: classes of a kept picture, with units clamped and without."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field

from patchclamp.atlas.lab import Lab, messages
from patchclamp.atlas.lab.explain_messages import ExplainCost, ExplainPictureAsked, PictureId
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.messages import MOST_CLAMPS, MOST_SETS, ClampAsked, Key
from patchclamp.atlas.lab.uploaded_pictures import Uploaded, UploadedPictures, read_upload
from patchclamp.atlas.read.graph_picture import UPLOADED, graph_png
from patchclamp.atlas.read.pictures import places_at, read_picture, require_pictures
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.read.responses import Source
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.stimulus import Picture

TOP = 10


@dataclass(frozen=True)
class PictureAsked:
    """A picture of the atlas, or one that was uploaded, with clamps.

    Args:
        picture: its number, or its id.
        clamps: the changes, all at once; neutral ones are left out by the server. ``at`` counts places.
        unit: a unit of the atlas whose values over the picture are wanted; empty for none.
        controls: how many random sets of like units are clamped instead; 0 for none.
        seed: of the random sets.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    picture: PictureId
    clamps: Annotated[list[ClampAsked], Field(max_length=MOST_CLAMPS)] = field(default_factory=list)
    unit: Key = ""
    controls: Annotated[int, Field(strict=True, ge=0, le=MOST_SETS)] = 0
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0


@dataclass(frozen=True)
class ClassRow:
    """How likely a class is: its number, its name, without clamps, and with them (None without clamps)."""

    index: int
    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class UnitOnPicture:
    """What a unit does all over a picture, without clamps.

    Args:
        key: the unit.
        value: its highest value.
        place: where that is, in words.
        box: left, top, right and bottom of what that place reads, as shares of the picture; None of a class token.
        cell: the same of its own cell.
        rows: rows of the map; 0 where places lie nowhere.
        columns: its columns.
        heat: the values, row after row.
    """

    key: str
    value: float | None
    place: str
    box: list[float] | None
    cell: list[float] | None
    rows: int
    columns: int
    heat: list[float | None]


@dataclass(frozen=True)
class PictureRun:
    """A picture's likeliest classes, with clamps and without.

    Args:
        picture: its number, or its id.
        src: address of its file.
        name: what it is called.
        label: its class; None where the inputs carry no labels.
        size: height and width as the network is shown it.
        classes: the likeliest without clamps, then those that are among the likeliest with them only.
        unit: what the unit that was asked for does on it; None where none was.
        control: what the same clamps do on random units to the likeliest class; None where none were asked for.
        cost: what explaining a class takes; None where the model gives no gradients, and nothing can be explained.
        source: where this comes from.
    """

    picture: int | str
    src: str
    name: str
    label: str | None
    size: list[int]
    classes: list[ClassRow]
    unit: UnitOnPicture | None
    control: messages.Control | None
    cost: ExplainCost | None
    source: Source


class PictureLab(Lab):
    """Show pictures to the model of an atlas of images, kept or uploaded; whoever asks for a text is refused."""

    def __init__(self, model: Any, atlas: Reading, name: str | None = None) -> None:
        super().__init__(model, atlas, name)
        self.uploaded = UploadedPictures()

    @property
    def loading(self) -> str:
        """What ``pc.load`` takes, as it is typed."""
        return repr(self.name)

    @property
    def loading_words(self) -> tuple[str, ...]:
        """What a command takes."""
        return (self.name,)

    def cut(self, text: str) -> Any:
        """Refuse a text.

        Raises:
            PatchclampError: always.
        """
        raise PatchclampError(
            expected="a picture of this atlas",
            got="a text, for a model of images",
            remedy="Choose a picture by its number: /api/lab/picture.",
        )

    def find_shown(self, atlas: Reading, graph: Graph) -> dict[str, Any]:
        """Return the pictures that a graph is about: a server opens no file for what an atlas names.

        Raises:
            PatchclampError: neither the atlas, nor the graph, nor this server has them.
        """
        return {
            name: self._picture_of(atlas, graph, name)
            for name in (str(graph.about[part]) for part in ("prompt", "corrupt") if graph.about.get(part))
        }

    def _picture_of(self, atlas: Reading, graph: Graph, name: str) -> Any:
        if (uploaded := str(graph.about.get(UPLOADED) or "")) and name == graph.about.get("prompt"):
            return self.uploaded.find(uploaded)
        if found := atlas.rows("SELECT id FROM pictures WHERE name = ? ORDER BY id LIMIT 1", [name]):
            return self.find_picture(atlas, found[0][0])[0]
        if graph.about.get("picture") and name == graph.about.get("prompt"):
            height, width = self.model.prepare.shape[1:]
            return _open_png(name, graph_png(name, graph), (width, height))
        raise PatchclampError(
            expected="an answer about a picture that the atlas keeps",
            got=f"one about {name!r:.80}",
            remedy="`patchclamp explain MODEL IMAGE` verifies it.",
        )

    def verify(self, atlas: Reading, asked: messages.VerifyAsked) -> Any:
        """Return what replaces nodes of an explained answer about one picture; see ``Lab.verify``.

        Raises:
            NotFound: the atlas has no such answer.
            PatchclampError: it is about several pictures, or about one that the atlas does not keep.
        """
        if self.find_graph(atlas, asked.graph).about.get("task"):
            raise self._refusal(f"{asked.graph}, found over several pictures")
        return super().verify(atlas, asked)

    def explain(self, atlas: Reading, asked: Any) -> Any:
        """Refuse: what is explained is a class of a picture, which has an address of its own.

        Raises:
            PatchclampError: always.
        """
        raise self._refusal("a prompt")

    def explain_picture(self, atlas: Reading, asked: ExplainPictureAsked) -> Callable[[Job], None]:
        """Return what explains a class of a picture; see ``prepare_explanation``.

        Raises:
            NotFound: a picture that is neither kept nor uploaded.
            PatchclampError: a class that the model does not have, or a model without gradients.
        """
        from patchclamp.atlas.lab.explain_job import prepare_explanation

        return prepare_explanation(self, atlas, asked)

    def upload(self, name: str, data: bytes) -> Uploaded:
        """Remember a picture that came as a file.

        Raises:
            PatchclampError: it is no picture, or none that the model can be shown.
        """
        picture = read_upload(name, data)
        self.model.prepare(picture)
        return Uploaded(self.uploaded.keep(picture), picture.name)

    def uploaded_png(self, id: str) -> bytes:
        """Return an uploaded picture as the network is shown it, as a PNG file.

        Raises:
            NotFound: it did not come to this server, or too long ago.
        """
        from patchclamp.subjects.picture_places import png_of, shown_pixels

        return png_of(shown_pixels(self.model.prepare, self.uploaded.find(id)))

    def find_circuit(self, atlas: Reading, asked: Any) -> Any:
        """Refuse: what is explained would be named by a path, and a server opens no files for a page.

        Raises:
            PatchclampError: always.
        """
        raise self._refusal("pictures by their names")

    def pairs_cost(self, asked: Any) -> Any:
        """Refuse: what is explained would be named by a path, and a server opens no files for a page.

        Raises:
            PatchclampError: always.
        """
        raise self._refusal("pictures by their names")

    @staticmethod
    def _refusal(got: str) -> PatchclampError:
        return PatchclampError(
            expected="an answer about one picture",
            got=got,
            remedy="`patchclamp explain MODEL IMAGE --target CLASS --atlas ATLAS` explains and verifies it.",
        )

    def page(self, atlas: Reading) -> messages.LabPage:
        """Return what the model takes."""
        return messages.LabPage(
            attached=True,
            shows="pictures",
            model=self.name,
            remedy="",
            context=None,
            generates=False,
            differentiates=self.model.capabilities.differentiate,
            most_clamps=MOST_CLAMPS,
            most_new=0,
            source=atlas.source(".page()"),
        )

    def run_picture(self, atlas: Reading, asked: PictureAsked) -> PictureRun:
        """Return a picture's likeliest classes with clamps and without.

        Raises:
            NotFound: the atlas has no such picture or unit.
            PatchclampError: a clamp that cannot be, or a picture that is kept smaller than the network is shown it.
        """
        from patchclamp.atlas.lab.clamps import interventions
        from patchclamp.atlas.lab.explain_job import explanation_cost

        require_pictures(atlas)
        if any(clamp.mode == "patch" for clamp in asked.clamps):
            raise PatchclampError(
                expected="clamps of one picture",
                got="patch, which takes the values of another input",
                remedy="Choose set, add, scale or ablate.",
            )
        picture, label = self.find_picture(atlas, asked.picture)
        changes = [change for _, change in interventions(self.model, atlas, asked.clamps)]
        read = atlas.key(atlas.index_of(asked.unit)) if asked.unit else None
        with self.turns.at_once():
            bare = self.model.run([picture], record=[] if read is None else [read.site])
            clamped = self.model.run([picture], interventions=changes).logits[0] if changes else None
        before = bare.logits[0].double().softmax(-1)
        after = None if clamped is None else clamped.double().softmax(-1)
        orders = [p.argsort(descending=True, stable=True)[:TOP].tolist() for p in (before, after) if p is not None]
        classes = [
            ClassRow(
                i,
                self.model.answer_name(i),
                number_or_none(float(before[i])),
                None if after is None else number_or_none(float(after[i])),
            )
            for i in dict.fromkeys(i for order in orders for i in order)
        ]
        return PictureRun(
            picture=asked.picture,
            src=f"/api{'/lab' if isinstance(asked.picture, str) else ''}/pictures/{asked.picture}.png",
            name=picture.name,
            label=label,
            size=[int(n) for n in self.model.prepare.shape[1:]],
            classes=classes,
            unit=None if read is None else self._unit(atlas, read, bare.recording[read.site]),
            control=self._control(picture, changes, classes[0].index, asked) if asked.controls and changes else None,
            cost=explanation_cost(self.model, 1) if self.model.capabilities.differentiate else None,
            source=atlas.source(f".picture({asked.picture!r})"),
        )

    def find_picture(self, atlas: Reading, which: int | str) -> tuple[Any, str | None]:
        """Return a kept picture as the network was shown it, or an uploaded one as it came; and its class's name.

        Raises:
            NotFound: there is none of that number or id.
            PatchclampError: the atlas keeps a smaller one than the network was shown.
        """
        if isinstance(which, str):
            return self.uploaded.find(which), None
        kept = read_picture(atlas, which)
        return _open_png(kept.name, kept.png, (kept.width, kept.height)), kept.label

    def _unit(self, atlas: Reading, key: Any, values: Any) -> UnitOnPicture:
        from patchclamp.atlas.bake.pictures import pool_map
        from patchclamp.atlas.lab.clamps import unit_values
        from patchclamp.subjects.bases import unit_activations

        places, (rows, columns) = places_at(atlas, key.site)
        along = unit_activations(unit_values(self.model, key.site, key.basis, values)[:, key.index])
        position = int(np.nan_to_num(along, nan=-np.inf).argmax())
        heat = pool_map(along[places.before :], places.grid).ravel().tolist() if rows else []
        box, cell = places.box(position), places.cell_box(position)
        return UnitOnPicture(
            key=str(key),
            value=number_or_none(float(along[position])),
            place=places.name(position),
            box=None if box is None else list(box),
            cell=None if cell is None else list(cell),
            rows=rows,
            columns=columns,
            heat=[number_or_none(x, 3) for x in heat],
        )

    def _control(self, picture: Any, changes: list[Any], target: int, asked: PictureAsked) -> messages.Control:
        from patchclamp.atlas.lab.random_controls import compare

        return compare(
            self.model,
            picture,
            changes,
            target=target,
            n_sets=asked.controls,
            seed=asked.seed,
            turn=self.turns.at_once,
        )


def _open_png(name: str, png: bytes, size: tuple[int, int]) -> Picture:
    """Return a picture that an atlas keeps as a file; one that is smaller than the network was shown is refused."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
            if opened.size != size or size[0] * size[1] > 10**6:
                raise PatchclampError(
                    expected="a picture as large as the network is shown it",
                    got=f"{name}, of which the atlas keeps a smaller one",
                    remedy="Give the file itself in Ask, or to `patchclamp explain MODEL IMAGE`.",
                )
            pixels = np.asarray(opened.convert("L" if opened.mode == "L" else "RGB"))
    except (OSError, SyntaxError, ValueError) as problem:
        raise Damaged(
            expected="a PNG file", got=f"{name}: {problem}"[:200], remedy="Bake the atlas again."
        ) from problem
    return Picture.of(pixels, name=name)


def picture_lab(lab: Lab) -> PictureLab:
    """Return the lab of an atlas of images.

    Raises:
        NotFound: the attached model reads text.
    """
    if not isinstance(lab, PictureLab):
        raise NotFound(expected="a model of images beside the atlas", got="one of text", remedy="Give it a text.")
    return lab
