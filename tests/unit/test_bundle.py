"""Bundles: what was committed is read back, what was not is left out, and hostile files end in a stated error."""

import errno
import hashlib
import json
import os
import stat
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from patchclamp.core import bundle
from patchclamp.core.basis import Basis
from patchclamp.core.bundle import Bundle
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import hold_folder, refuse_interrupted, refuse_occupied, write_durably, write_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import canonical
from patchclamp.core.recording import StoredRecording

PIECES = {
    "shard-00000": {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.array([3, 1], dtype=np.int64)},
    "shard-00001": {"x": np.full((1, 3), -0.5, dtype=np.float32), "ids": np.array([7], dtype=np.int64)},
}


@pytest.fixture
def made(tmp_path):
    """A finished bundle of two pieces."""
    made = Bundle.create(tmp_path / "b", kind="recording", manifest={"seed": 3, "sites": []})
    for name, tensors in PIECES.items():
        made.append(name, tensors, stimuli=len(tensors["ids"]))
    made.finish(tokens=3)
    return made


def same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def seal_again(folder, entries):
    """Write the journal with fitting seals, so that what is read next is not refused for them alone."""
    seal, lines = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(), []
    for entry in entries:
        seal = hashlib.sha256(seal.encode() + canonical(entry)).hexdigest()
        lines.append(canonical({**entry, "seal": seal}) + b"\n")
    (folder / "journal.jsonl").write_bytes(b"".join(lines))


# -- what is written is read ------------------------------------------------------------------------------------------


def test_a_bundle_is_read_back_as_it_was_written(made):
    again = Bundle.open(made.path, kind="recording")
    assert again.whole
    assert again.manifest == {"format": "patchclamp", "version": 2, "kind": "recording", "seed": 3, "sites": []}
    assert [e["piece"] for e in again.pieces] == list(PIECES)
    assert [e["stimuli"] for e in again.pieces] == [2, 1]
    assert again.entries[-1] == {"done": True, "tokens": 3}
    for name, tensors in PIECES.items():
        same(again.read(name), tensors)
        same(again.read(name, ["ids"]), {"ids": tensors["ids"]})
    assert again.find_damaged() == []
    assert again.hash == made.hash
    assert sorted(p.name for p in made.path.iterdir()) == [
        "journal.jsonl", "manifest.json", "shard-00000.safetensors", "shard-00001.safetensors",
    ]  # fmt: skip


def test_the_hash_tells_any_two_contents_apart(made, tmp_path):
    found = {made.hash}
    for i, (seed, value) in enumerate([(3, 1.0), (4, 1.0), (3, 2.0)]):
        other = Bundle.create(tmp_path / f"o{i}", kind="recording", manifest={"seed": seed})
        other.append("a", {"x": np.array([value])})
        found.add(other.hash)
    assert len(found) == 4


def test_bfloat16_and_other_types_survive(tmp_path):
    arrays = {
        "b": np.array([1.5, -2.25, 3e38], dtype=ml_dtypes.bfloat16),
        "h": np.array([1e-7, 65504.0], dtype=np.float16),
        "u": np.array([[255, 0]], dtype=np.uint8),
        "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
        "empty": np.zeros((0, 5), dtype=np.float32),
        "flag": np.array([True, False]),
    }
    made = Bundle.create(tmp_path / "b", kind="survey", manifest={})
    made.append("all", arrays)
    same(Bundle.open(tmp_path / "b").read("all"), arrays)


def test_pieces_are_as_readable_as_the_manifest(made):
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in made.path.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_a_dropped_piece_is_gone_from_folder_and_journal(made):
    made.drop("shard-00000")
    again = Bundle.open(made.path)
    assert [e["piece"] for e in again.pieces] == ["shard-00001"]
    assert not (made.path / "shard-00000.safetensors").exists()
    with pytest.raises(Damaged, match="shard-00000"):
        again.read("shard-00000")


def test_a_folder_that_holds_something_is_not_written_into(made, tmp_path):
    for path in (made.path, made.path / "manifest.json"):
        with pytest.raises(PatchclampError, match="a new or empty folder"):
            Bundle.create(path, kind="recording", manifest={})
    (tmp_path / "empty").mkdir()
    Bundle.create(tmp_path / "empty", kind="recording", manifest={})
    Bundle.create(tmp_path / "deep" / "er", kind="recording", manifest={})


def test_what_is_no_bundle_is_named(made, tmp_path):
    with pytest.raises(PatchclampError, match="which is not there"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(PatchclampError, match=r"no manifest\.json"):
        Bundle.open(tmp_path)
    with pytest.raises(PatchclampError, match="expected a survey; got a recording"):
        Bundle.open(made.path, kind="survey")


@pytest.mark.parametrize(
    "change", [{"version": 1}, {"version": 3}, {"version": None}, {"format": "other"}, {"version": "2"}]
)
def test_another_version_or_another_format_is_refused(made, change):
    file = made.path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(PatchclampError, match="the patchclamp that wrote it"):
        Bundle.open(made.path)


# -- interruption -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [b'{"piece": "shard-00002", "sha', b"\x00\x00\x00", b"{", b'{"done": true}'])
def test_a_torn_last_line_was_never_committed(made, torn):
    journal = made.path / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + torn)
    (made.path / "shard-00002.safetensors").write_bytes(b"half a pie")
    (made.path / "shard-00003.part").write_bytes(b"half a pie")
    again = Bundle.open(made.path)
    assert again.entries == made.entries
    assert again.hash == made.hash
    # Nothing may be glued to the torn line.
    with pytest.raises(PatchclampError, match="resume"):
        again.append("shard-00002", PIECES["shard-00001"])
    again.resume()
    assert journal.read_bytes() == whole
    assert not list(made.path.glob("*.part"))
    assert not (made.path / "shard-00002.safetensors").exists()
    again.append("shard-00002", PIECES["shard-00001"])
    assert [e["piece"] for e in Bundle.open(made.path).pieces] == [*PIECES, "shard-00002"]


def test_resuming_keeps_what_is_not_ours(made):
    (made.path / "notes.txt").write_text("mine")
    (made.path / "model.safetensors").mkdir()
    Bundle.open(made.path).resume()
    assert (made.path / "notes.txt").read_text() == "mine"
    assert (made.path / "model.safetensors").is_dir()


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "grown"])
def test_a_damaged_piece_is_named(made, damage):
    file = made.path / "shard-00001.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        data[-1] ^= damage == "flipped"
        file.write_bytes({"flipped": data, "cut": data[:-4], "grown": data + b"\0"}[damage])
    again = Bundle.open(made.path)
    assert again.find_damaged() == ["shard-00001"]
    same(again.read("shard-00000"), PIECES["shard-00000"])
    if damage != "flipped":
        with pytest.raises(Damaged, match="shard-00001"):
            again.read("shard-00001")


def test_an_array_that_a_piece_lacks_is_named(made):
    with pytest.raises(Damaged, match="shard-00000"):
        made.read("shard-00000", ["x", "y"])


FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(error, after=0):
    calls = []

    def call(*_args, **_kwargs):
        calls.append(1)
        if len(calls) > after:
            raise error

    return call


@pytest.mark.parametrize(
    ("owner", "name", "error", "after"),
    [
        (bundle, "save_file", FULL, 0),
        (bundle, "save_file", SafetensorError("I/O error: No space left on device (os error 28)"), 0),
        (os, "fsync", FULL, 0),  # the piece itself
        (os, "fsync", FULL, 1),  # the folder
        (os, "fsync", FULL, 2),  # the journal
    ],
)
def test_a_full_disk_leaves_every_earlier_piece_whole(made, monkeypatch, owner, name, error, after):
    before = {p.name: p.read_bytes() for p in made.path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(error, after))
        with pytest.raises(PatchclampError, match="a full disk"):
            made.append("shard-00002", {"x": np.zeros(3)})
    for file, data in before.items():
        assert (made.path / file).read_bytes() == data, file
    assert not list(made.path.glob("*.part"))
    again = Bundle.open(made.path)
    assert again.entries == made.entries
    assert len(again.pieces) == 2
    assert again.find_damaged() == []
    # With room again the run goes on.
    again.resume()
    again.append("shard-00002", {"x": np.zeros(3)})
    assert Bundle.open(made.path).find_damaged() == []
    assert len(Bundle.open(made.path).pieces) == 3


def test_a_full_disk_while_starting_or_dropping(made, monkeypatch, tmp_path):
    before = {p.name: p.read_bytes() for p in made.path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(FULL))
        with pytest.raises(PatchclampError, match="a full disk"):
            Bundle.create(tmp_path / "new", kind="recording", manifest={})
        with pytest.raises(PatchclampError, match="a full disk"):
            Bundle.open(made.path).drop("shard-00000")
        with pytest.raises(PatchclampError, match="a full disk"):
            Bundle.open(made.path).resume()
    assert {p.name: p.read_bytes() for p in made.path.iterdir()} == before
    assert list((tmp_path / "new").iterdir()) == []


def test_any_other_trouble_with_the_disk_is_not_called_full(made, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(PatchclampError, match="Input/output error"):
        made.append("shard-00002", {"x": np.zeros(3)})


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_durably(file, b"first")
    monkeypatch.setattr(os, "fsync", failing(FULL))
    with pytest.raises(PatchclampError, match="a full disk"):
        write_durably(file, b"second")
    assert file.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# -- hostile files ----------------------------------------------------------------------------------------------------


def opened(folder):
    """Do everything with a bundle that a reader does; only stated errors may come out."""
    try:
        found = Bundle.open(folder)
        assert len(found.hash) == 64
        assert isinstance(found.whole, bool)
        for name in [e["piece"] for e in found.pieces]:
            found.read(name)
        found.find_damaged()
        StoredRecording(folder).load()
    except PatchclampError as problem:
        return problem
    return None


@pytest.mark.parametrize(
    "piece",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "A",
        "shard-0\n",
        "a" * 300,
        "-a",
        "a\0b",
        5,
        None,
        ["a"],
    ],
)
def test_a_piece_that_points_elsewhere_is_never_opened(made, monkeypatch, piece):
    (made.path.parent / "secret.safetensors").write_bytes(b"secret")
    line = {"piece": piece, "sha256": "0" * 64, "stimuli": 1}
    seal_again(made.path, [line])
    asked = []
    monkeypatch.setattr(bundle, "safe_open", lambda path, _kind: asked.append(path))
    assert isinstance(opened(made.path), PatchclampError)
    assert asked == []
    if isinstance(piece, str):
        for use in (made.read, made.drop, lambda p: made.append(p, {"x": np.zeros(1)})):
            with pytest.raises(PatchclampError):
                use(piece)
    assert (made.path.parent / "secret.safetensors").read_bytes() == b"secret"


HOSTILE = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe\x00", b"\x00" * 64, b"[" * 100_000, b'{"a":' * 100_000,
    b"9" * 5000, b'{"version": 1' + b"9" * 5000 + b"}", b'\xef\xbb\xbf{"format": "patchclamp"}', b"NaN", b"{} {}",
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE)
def test_a_hostile_manifest(made, data):
    (made.path / "manifest.json").write_bytes(data)
    assert isinstance(opened(made.path), PatchclampError)


@pytest.mark.parametrize("data", [d for d in HOSTILE if d])
def test_a_hostile_journal(made, data):
    journal = made.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + data + b"\n")
    with pytest.raises(Damaged, match="line 4"):
        Bundle.open(made.path)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_refused_where_they_are_read(made, value):
    manifest, journal = made.path / "manifest.json", made.path / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"done": true, "mean": ' + value.encode() + b"}\n")
    with pytest.raises(Damaged):
        Bundle.open(made.path)
    journal.write_bytes(whole)
    manifest.write_text(manifest.read_text().replace('"seed": 3', f'"seed": {value}'))
    with pytest.raises(Damaged):
        Bundle.open(made.path)


@pytest.mark.parametrize("name", ["manifest.json", "journal.jsonl"])
def test_a_file_of_absurd_size_is_not_read(made, name):
    with (made.path / name).open("r+b") as file:
        file.truncate(3 * 2**30)  # holds no bytes on disk
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match="3,221,225,472 bytes, above"):
            Bundle.open(made.path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_folder_in_a_files_place(made, tmp_path):
    (made.path / "journal.jsonl").unlink()
    (made.path / "journal.jsonl").mkdir()
    assert isinstance(opened(made.path), PatchclampError)
    (tmp_path / "c" / "manifest.json").mkdir(parents=True)
    assert isinstance(opened(tmp_path / "c"), PatchclampError)


@pytest.mark.parametrize("header", [
    b"", b"{}", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}",
    (40).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[4],"data_o',
    (60).to_bytes(8, "little") + b'{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}  ' + b"\0",
    (60).to_bytes(8, "little") + b'{"x":{"dtype":"HUGE","shape":[1],"data_offsets":[0,1]}}     ' + b"\0",
    (80).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[999999999999],"data_offsets":[0,4]}}'.ljust(84),
])  # fmt: skip
def test_a_hostile_piece(made, header):
    (made.path / "shard-00000.safetensors").write_bytes(header)
    problem = opened(made.path)
    assert isinstance(problem, PatchclampError)
    assert Bundle.open(made.path).find_damaged() == ["shard-00000"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["sites", "subject", "dtype", "plan", "kind", "format", "version"]), values)
@example("sites", None)
@example("sites", [{"path": "a"}])
@example("sites", [{"path": "a", "kind": "a", "width": 1, "axes": ["weather"]}])
@example("sites", [{"path": ["a"], "kind": "a", "width": 1, "axes": []}])
@example("sites", [{"path": "a", "kind": "a", "width": 1, "axes": 5}])
@example("sites", {"a": 1})
def test_any_manifest_field_is_read_or_refused(made, field, value):
    manifest = {**made.manifest, field: value}
    (made.path / "manifest.json").write_bytes(json.dumps(manifest).encode())
    opened(made.path)
    seal_again(made.path, made.entries)  # as one who knows the format can
    opened(made.path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["piece", "sha256", "stimuli", "done", "tokens"]), values))
@example({"piece": "shard-00000", "sha256": "x", "stimuli": "many"})
@example({"piece": "shard-00000", "sha256": "x", "stimuli": -5})
@example({"piece": "shard-00000", "sha256": "x", "stimuli": [1]})
@example({"piece": "shard-00000"})
@example({"done": "yes"})
def test_any_journal_line_is_read_or_refused(made, line):
    seal_again(made.path, [line])
    opened(made.path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from(["manifest.json", "journal.jsonl", "shard-00000.safetensors"]))
def test_any_bytes_are_read_or_refused(made, data, name):
    whole = (made.path / name).read_bytes()
    try:
        (made.path / name).write_bytes(data)
        opened(made.path)
    finally:
        (made.path / name).write_bytes(whole)


def test_a_file_that_users_name_touches_nothing_else(tmp_path):
    out, other, victim = tmp_path / "x.html", tmp_path / "x.html.part", tmp_path / "victim"
    victim.write_text("precious")
    other.symlink_to(victim)
    write_file(out, b"page")
    assert (out.read_bytes(), victim.read_text()) == (b"page", "precious")
    assert other.is_symlink()
    assert {file.name for file in tmp_path.iterdir()} == {"x.html", "x.html.part", "victim"}


def test_two_who_write_one_file_leave_one_of_both(tmp_path):
    out, pages = tmp_path / "x.html", [bytes([i]) * 100_000 for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write_file, out, page) for page in pages * 10]:
            done.result()
    assert out.read_bytes() in pages
    assert [file.name for file in tmp_path.iterdir()] == ["x.html"]


# -- nothing is changed unnoticed -------------------------------------------------------------------------------------


def test_no_changed_character_of_manifest_or_journal_goes_unnoticed(made):
    for name in ("manifest.json", "journal.jsonl"):
        file = made.path / name
        whole = file.read_bytes()
        for i, byte in enumerate(whole):
            file.write_bytes(whole[:i] + bytes([byte ^ 1]) + whole[i + 1 :])
            try:
                found = Bundle.open(made.path)
            except PatchclampError:
                continue
            # Without its newline the last line was never committed: the run did not end.
            assert (name, i, found.whole) == ("journal.jsonl", len(whole) - 1, False)
        file.write_bytes(whole)
    assert Bundle.open(made.path).whole


def test_a_journal_cannot_lose_repeat_or_exchange_lines(made):
    journal = made.path / "journal.jsonl"
    one, two, done = journal.read_bytes().splitlines(keepends=True)
    for lines in ([two, one, done], [two, done], [one, done], [one, two, done, done], [done]):
        journal.write_bytes(b"".join(lines))
        with pytest.raises(Damaged):
            Bundle.open(made.path)
    journal.write_bytes(one + two)
    assert not Bundle.open(made.path).whole


def test_an_attached_file_is_checked_as_pieces_are(tmp_path):
    made = Bundle.create(tmp_path / "b", kind="patching", manifest={})
    made.append("shard-00000", {"x": np.zeros(1)})
    made.attach("page.html", b"first")
    made.attach("page.html", b"second")
    made.finish()
    again = Bundle.open(made.path)
    assert (again.find_damaged(), len(again.entries)) == ([], 3)
    (made.path / "page.html").write_bytes(b"third")
    assert again.find_damaged() == ["page.html"]
    (made.path / "page.html").unlink()
    assert again.find_damaged() == ["page.html"]
    for name in ("../page.html", "manifest.json", "page.py", "a/b.html", ".html"):
        with pytest.raises(PatchclampError, match="a name such as"):
            again.attach(name, b"")


# -- links that somebody put there ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize("name", ["manifest.json.part", "journal.jsonl.part", "shard-00000.part", "page.html.part"])
def test_a_link_under_a_passing_name_is_replaced_and_not_followed(tmp_path, name, kind):
    victim, folder = tmp_path / "victim", tmp_path / "b"
    victim.write_text("precious")
    folder.mkdir()

    def plant():
        if kind == "symbolic":
            (folder / name).symlink_to(victim)
        else:
            (folder / name).hardlink_to(victim)

    if name.startswith("manifest"):
        plant()
    made = Bundle.create(folder, kind="recording", manifest={})
    if not name.startswith("manifest"):
        plant()
    made.append("shard-00000", PIECES["shard-00000"])
    made.attach("page.html", b"page")
    Bundle.open(folder).resume()
    assert victim.read_text() == "precious"
    assert not (folder / name).exists()
    assert not (folder / name).is_symlink()
    assert Bundle.open(folder).find_damaged() == []


def test_a_link_in_the_journals_place_is_not_written_through(tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "b"
    victim.write_text("precious\n")
    made = Bundle.create(folder, kind="recording", manifest={})
    (folder / "journal.jsonl").symlink_to(victim)
    with pytest.raises(PatchclampError, match="to write"):
        made.append("shard-00000", PIECES["shard-00000"])
    assert victim.read_text() == "precious\n"


def test_a_piece_keeps_the_shape_of_every_array(tmp_path):
    bundle = Bundle.create(tmp_path / "b", kind="test", manifest={})
    kept = {"one": np.array(2.5), "row": np.arange(3.0), "turned": np.arange(6.0).reshape(2, 3).T}
    for read in (bundle.once("piece", lambda: kept), Bundle.open(tmp_path / "b", kind="test").read("piece")):
        assert {name: array.tolist() for name, array in read.items()} == {n: a.tolist() for n, a in kept.items()}


def test_a_later_piece_without_a_journal_is_not_thrown_away(tmp_path):
    bundle = Bundle.create(tmp_path / "b", kind="training", manifest={})
    bundle.append("state-00000003", {"x": np.arange(3.0)})
    bundle.finish()
    (tmp_path / "b" / "journal.jsonl").write_bytes(b"")
    with pytest.raises(Damaged, match="a first one where it names none"):
        Bundle.open(tmp_path / "b").resume()
    assert (tmp_path / "b" / "state-00000003.safetensors").is_file()


@pytest.mark.parametrize("write", ["bundle", "dictionary", "check"])
def test_a_folder_is_occupied_by_way_of_one_that_is_not_there(tmp_path, write):
    """What ``new/../x`` names is x: mkdir makes ``new`` on the way."""
    eye = np.eye(2, dtype=np.float32)
    dictionary = Dictionary({"s": Basis("b", "directions", eye, eye)}, {}, "by hand")
    dictionary.save(tmp_path / "x")
    writers = {
        "bundle": lambda place: Bundle.create(place, kind="test", manifest={}),
        "dictionary": dictionary.save,
        "check": refuse_occupied,
    }
    with pytest.raises(PatchclampError, match=r"without a basis|new or empty"):
        writers[write](tmp_path / "new" / ".." / "x")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    writers[write](tmp_path / "new" / ".." / "y")


@pytest.mark.parametrize("harm", ["empty", "zeroed", "deleted", "loop"])
def test_a_journal_that_lost_everything_is_damaged_where_pieces_lie(made, harm):
    journal = made.path / "journal.jsonl"
    size = journal.stat().st_size
    journal.unlink()
    if harm == "loop":
        journal.symlink_to(journal.name)
    elif harm != "deleted":
        journal.write_bytes(b"" if harm == "empty" else bytes(size))
    with pytest.raises(Damaged, match="journal"):
        Bundle.open(made.path)


@pytest.mark.parametrize("where", ["c.finding", "c.finding/state"])
def test_what_still_runs_is_not_called_interrupted(tmp_path, where):
    aside = tmp_path / where
    with hold_folder(aside):
        (aside / "manifest.json").write_text("{}")
        with pytest.raises(PatchclampError, match="another process holds"):
            refuse_interrupted(tmp_path / "c.finding", "a search", resume=False)
    with pytest.raises(PatchclampError, match="an interrupted run left"):
        refuse_interrupted(tmp_path / "c.finding", "a search", resume=False)
