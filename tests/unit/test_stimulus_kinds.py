"""A kind of stimulus is one file of its folder: recordings and exemplars keep one that was just put there."""

from pathlib import Path

import numpy as np
import pytest

from howto_files import read_files
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.recording import StoredRecording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import PackedStimuli, Picture, Stimulus, kind, kind_names, pack_stimuli, unpack_stimuli
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network
from patchclamp.subjects.vision import VisionModel

[SERIES] = read_files("stimulus").values()


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put one file into the folder of kinds, and return three of its stimuli."""
    (tmp_path / "series.py").write_text(SERIES)
    monkeypatch.setattr(kind.folder, "__path__", [*kind.folder.__path__, str(tmp_path)])
    kind.all_kinds.cache_clear()
    made = kind.find_kind("series").shown
    yield [made(np.arange(n) + 0.5) for n in (3, 1, 4)]
    kind.all_kinds.cache_clear()


def test_the_kinds_are_the_files_of_their_folder():
    files = {file.stem for path in kind.folder.__path__ for file in Path(path).glob("[a-z]*.py")}
    assert files == {"tokens", "picture"}
    assert set(kind_names()) == {"text", "images", "arrays"}
    assert {subject.stimulus_kind for subject in (LanguageModel, VisionModel, Network)} == set(kind_names())


def test_a_new_kind_is_packed_taken_apart_and_drawn_from(series):
    some = PackedStimuli.of(series, [7, 8, 9])
    assert some.kind.names == ("series",)
    assert [one.id for one in unpack_stimuli(pack_stimuli(series))] == [one.id for one in series]
    assert some.lengths_of(np.array([2, 0])).tolist() == [4, 3]
    taken = some.take(np.array([2, 1]))
    assert (taken[0].values.tolist(), taken.numbers.tolist()) == ([0.5, 1.5, 2.5, 3.5], [9, 8])
    assert taken.draw(0).tolist() == some.draw(0)[[2, 1]].tolist()
    with pytest.raises(PatchclampError, match="series and text"):
        PackedStimuli.of([series[0], Stimulus.of(np.array([1]))])
    with pytest.raises(PatchclampError, match="samples, sample_offsets of 2"):
        PackedStimuli({**some.arrays}, np.array([1, 2]))


def test_exemplars_of_a_new_kind_are_saved_and_read(series, tmp_path):
    site = Site("a", "a", 2)
    some = Exemplars.of(site, series, unit=[0, 1], value=[2.0, 1.0], position=[3, 0], stimulus=[2, 0], kind="top")
    some.save(tmp_path / "exemplars")
    read = Exemplars.load(tmp_path / "exemplars")
    assert [one.value for one in read] == [2.0, 1.0]
    assert read.stimuli[int(read.stimulus[0])].values.tolist() == series[2].values.tolist()


def test_a_recording_of_a_new_kind_is_read_by_stimulus(series, tmp_path):
    site, rows = Site("a", "a", 2), np.arange(16.0).reshape(8, 2)
    about = {"sites": [site.to_json()], "stimuli": "series"}
    made = Bundle.create(tmp_path / "recording", kind="recording", manifest=about)
    made.append("shard-00000", {"a": rows, **pack_stimuli(series)}, stimuli=3, tokens=8)
    made.finish(stimuli=3, tokens=8)
    stored = StoredRecording(tmp_path / "recording")
    assert stored.of("a", 2).tolist() == rows[4:].tolist()
    assert stored.load().stimuli[0].values.tolist() == [0.5, 1.5, 2.5]


@pytest.mark.parametrize(
    ("stimuli", "bytes_on_disk"),
    [
        (
            [Stimulus.of(np.array([5, 6])), Stimulus.of(np.array([7]))],
            {
                "ids": np.array([5, 6, 7], np.int32),
                "roles": np.full(3, 3, np.uint8),
                "spans": np.full((3, 2), -1, np.int64),
                "offsets": np.array([0, 2, 3], np.int64),
            },
        ),
        (
            [Picture("00" * 15 + "ff", "é"), Picture("01" * 16, "ab")],
            {
                "images": np.array([[0] * 15 + [255], [1] * 16], np.uint8),
                "names": np.frombuffer("éab".encode(), np.uint8),
                "name_offsets": np.array([0, 2, 4], np.int64),
            },
        ),
    ],
    ids=["text", "pictures"],
)
def test_tokens_and_pictures_lie_on_disk_as_these_arrays(stimuli, bytes_on_disk):
    arrays = pack_stimuli(stimuli)
    assert {name: (a.dtype, a.tobytes()) for name, a in arrays.items()} == {
        name: (a.dtype, a.tobytes()) for name, a in bytes_on_disk.items()
    }
    assert [one.id for one in unpack_stimuli(arrays)] == [one.id for one in stimuli]
