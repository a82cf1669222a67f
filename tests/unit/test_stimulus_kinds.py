"""A kind of stimulus is one file of its folder: recordings and exemplars keep each, and one that was just put there."""

import importlib
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


FILES = sorted(file.stem for path in kind.folder.__path__ for file in Path(path).glob("[a-z]*.py"))


@pytest.fixture(params=[*FILES, "series of the how-to"])
def each(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a kind of the folder, or one whose file is put there for the test."""
    if request.param in FILES:
        yield importlib.import_module(f"{kind.folder.__name__}.{request.param}").KIND
        return
    (tmp_path / "series.py").write_text(SERIES)
    monkeypatch.setattr(kind.folder, "__path__", [*kind.folder.__path__, str(tmp_path)])
    kind.all_kinds.cache_clear()
    yield kind.find_kind("series")
    kind.all_kinds.cache_clear()


@pytest.fixture
def shown(each):
    """Return the examples of a kind: three stimuli."""
    return list(each.examples())


def ids(stimuli):
    return [one.id for one in stimuli]


def test_the_kinds_are_the_files_of_their_folder():
    assert len(kind.all_kinds()) == len(FILES)
    assert len(set(kind_names())) == len(kind_names())
    assert {subject.stimulus_kind for subject in (LanguageModel, VisionModel, Network)} <= set(kind_names())


def test_a_kind_is_found_by_its_names_and_by_its_stimuli(each, shown):
    assert [kind.find_kind(name) for name in each.names] == [each] * len(each.names)
    assert [kind.kind_of(one) for one in shown] == [each] * 3
    assert len(set(ids(shown))) == 3
    assert [len(one.counted) for one in shown] == [len(one) for one in shown]


def test_a_kind_is_packed_taken_apart_and_drawn_from(each, shown):
    arrays = pack_stimuli(shown)
    assert set(arrays) == set(each.arrays)
    sizes = each.shapes(3, len(arrays[each.ragged[0]]))
    assert {name: array.shape for name, array in arrays.items()} == sizes
    assert {array.dtype.kind for array in arrays.values()} <= set("iu" + each.dtypes)
    assert ids(unpack_stimuli(arrays)) == ids(shown)
    assert {name: array.shape[0] for name, array in each.pack([]).items()} == {
        name: shape[0] for name, shape in each.shapes(0, 0).items()
    }
    some = PackedStimuli.of(shown, [7, 8, 9])
    assert some.kind is each
    lengths = [len(one) if each.positions else 1 for one in shown]
    assert some.lengths_of(np.array([2, 0])).tolist() == [lengths[2], lengths[0]]
    taken = some.take(np.array([2, 1]))
    assert (ids([taken[0], taken[1]]), taken.numbers.tolist()) == (ids([shown[2], shown[1]]), [9, 8])
    assert taken.draw(0).tolist() == some.draw(0)[[2, 1]].tolist()
    with pytest.raises(PatchclampError, match=" of 2"):
        PackedStimuli({**some.arrays}, np.array([1, 2]))


def test_a_kind_is_not_packed_with_another(each, shown):
    [other, *_] = [one for one in kind.all_kinds() if one is not each]
    with pytest.raises(PatchclampError, match=" and ".join(sorted((each.names[0], other.names[0])))):
        PackedStimuli.of([shown[0], other.examples()[0]])


def test_exemplars_of_a_kind_are_saved_and_read(shown, tmp_path):
    site = Site("a", "a", 2)
    some = Exemplars.of(site, shown, unit=[0, 1], value=[2.0, 1.0], position=[0, 0], stimulus=[2, 0], kind="top")
    some.save(tmp_path / "exemplars")
    read = Exemplars.load(tmp_path / "exemplars")
    assert [one.value for one in read] == [2.0, 1.0]
    assert read.stimuli[int(read.stimulus[0])].id == shown[2].id


def test_a_recording_of_a_kind_is_read_by_stimulus(each, shown, tmp_path):
    lengths = [len(one) if each.positions else 1 for one in shown]
    site, rows = Site("a", "a", 2), np.arange(2.0 * sum(lengths)).reshape(-1, 2)
    about = {"sites": [site.to_json()], "stimuli": each.names[0]}
    made = Bundle.create(tmp_path / "recording", kind="recording", manifest=about)
    made.append("shard-00000", {"a": rows, **pack_stimuli(shown)}, stimuli=3, tokens=len(rows))
    made.finish(stimuli=3, tokens=len(rows))
    stored = StoredRecording(tmp_path / "recording")
    assert stored.of("a", 2).tolist() == rows[-lengths[2] :].tolist()
    assert ids(stored.load().stimuli) == ids(shown)


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
