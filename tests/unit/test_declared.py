"""Declared sizes: a small file that says it unpacks to a large one is refused before memory is spent."""

import io
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.decompose.formats.files import read_tensors
from patchclamp.subjects import unpacked_sizes
from patchclamp.subjects.images import gallery

N, SMALL = 2**22, 2**20
READERS = {
    "recording": pc.load_recording,
    "images": lambda path: gallery(path).read(0),
    "dictionary": read_tensors,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Take less for small than users have it, so that bombs are soon made."""
    monkeypatch.setattr(unpacked_sizes, "SMALL", SMALL)


def refusal(read, path: Path) -> pc.PatchclampError:
    """Return the complaint of a reader that spends no memory before it."""
    tracemalloc.start()
    try:
        with pytest.raises(pc.PatchclampError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24  # SciPy is imported meanwhile
    finally:
        tracemalloc.stop()
    return caught.value


def header(*shape: int, descr: str = "<f8") -> bytes:
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": descr, "fortran_order": False, "shape": shape})
    return written.getvalue()


def bomb(path: Path) -> Path:
    """Write 32 MiB of zeros as 32 KiB of zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("x.npy", "w") as file:
        file.write(header(N // 64, 64))
        for _ in range(32):
            file.write(bytes(2**20))
    return path


@pytest.fixture(scope="module")
def npz(tmp_path_factory) -> Path:
    return bomb(tmp_path_factory.mktemp("bomb") / "bomb.npz")


@pytest.mark.parametrize("read", READERS)
def test_an_npz_bomb_is_refused_with_the_limit(npz, read):
    problem = refusal(READERS[read], npz)
    assert f"{8 * N + len(header(N // 64, 64)):,} bytes" in problem.got
    assert f"{unpacked_sizes.RATIO} times its own {npz.stat().st_size:,}" in problem.expected


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_says_more_than_the_file_holds_is_refused(tmp_path, suffix, read):
    file = tmp_path / f"short{suffix}"
    content = header(10**5, 10**6) + bytes(64)
    if suffix == ".npy":
        file.write_bytes(content)
    else:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("x.npy", content)
    assert "short" in refusal(READERS[read], file).got


@pytest.mark.parametrize("read", ["recording", "images"])
def test_an_array_beyond_free_memory_is_refused(tmp_path, monkeypatch, read):
    file = tmp_path / "sparse.npy"
    file.write_bytes(header(10**4, 10**6))
    with file.open("r+b") as opened:
        opened.truncate(8 * 10**10 + 128)  # a hole, which takes no room on disk
    assert "half of the free memory" in refusal(READERS[read], file).expected
    monkeypatch.setattr(unpacked_sizes, "free_memory", lambda: 100)
    np.save(tmp_path / "small.npy", np.ones((4, 4, 4)))
    assert "50 bytes" in refusal(READERS[read], tmp_path / "small.npy").expected


def test_only_the_images_of_a_file_of_several_arrays_count(tmp_path, npz):
    with zipfile.ZipFile(npz) as packed, zipfile.ZipFile(tmp_path / "both.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.npy", packed.read("x.npy"))
        small = io.BytesIO()
        np.save(small, np.arange(32, dtype=np.uint8).reshape(2, 4, 4))
        file.writestr("images.npy", small.getvalue())
    assert len(gallery(tmp_path / "both.npz")) == 2


def element(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data + bytes(-len(data) % 8)


def test_a_matlab_bomb_is_refused(tmp_path):
    pytest.importorskip("scipy.io", reason="needs SciPy, of the extra brains")
    packer = zlib.compressobj()
    size = 8 * N
    head = b"\x0e\0\0\0" + (size + 48).to_bytes(4, "little") + element(6, b"\x06\0\0\0" + bytes(4))
    head += element(5, (N).to_bytes(4, "little") + (1).to_bytes(4, "little")) + element(1, b"x")
    head += b"\x09\0\0\0" + size.to_bytes(4, "little")
    data = b"".join([packer.compress(head), *(packer.compress(bytes(2**20)) for _ in range(32)), packer.flush()])
    file = tmp_path / "bomb.mat"
    file.write_bytes(
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\x01IM" + b"\x0f\0\0\0" + len(data).to_bytes(4, "little") + data
    )
    assert f"{unpacked_sizes.RATIO} times" in refusal(pc.load_recording, file).expected
    assert unpacked_sizes.mat_bytes(file) == unpacked_sizes.most_bytes(file) + 1, "counting stops at the limit"


def test_a_matlab_file_is_counted_as_it_unpacks(tmp_path, monkeypatch):
    io_ = pytest.importorskip("scipy.io", reason="needs SciPy, of the extra brains")
    monkeypatch.setattr(unpacked_sizes, "SMALL", 2**17)
    file = tmp_path / "a.mat"
    x = np.random.default_rng(0).normal(size=(200, 30))
    io_.savemat(file, {"x": x, "y": np.zeros((100, 100))}, do_compression=True)
    assert 0 < unpacked_sizes.mat_bytes(file) - 8 * (x.size + 100 * 100) < 200
    io_.savemat(file, {"x": x}, do_compression=False)
    assert 0 < unpacked_sizes.mat_bytes(file) - 8 * x.size < 200


def test_hdf5_that_is_large_or_elsewhere_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py, of the extra brains")

    def written(name, make):
        with h5py.File(tmp_path / name, "w") as file:
            make(file)
        return tmp_path / name

    def named_often(file):
        cells = file.create_dataset("#refs#/a", data=np.zeros(2**16))
        refs = file.create_dataset("cells", (2000,), dtype=h5py.ref_dtype)
        refs[:] = [cells.ref] * 2000

    hollow = written("hollow.mat", lambda file: file.create_dataset("x", (10**6, 10**5), "f8", chunks=(1000, 1000)))
    assert "800,000,000,000 bytes" in refusal(pc.load_recording, hollow).got
    assert "unpacks" in refusal(pc.load_recording, written("often.mat", named_often)).expected
    (tmp_path / "secret").write_bytes(bytes(80))
    (tmp_path / "other.mat").write_bytes(
        written("small.mat", lambda f: f.create_dataset("x", data=np.ones((9, 2)))).read_bytes()
    )
    links = {
        "raw.mat": lambda f: f.create_dataset("x", (10,), "f8", external=[(str(tmp_path / "secret"), 0, 80)]),
        "link.mat": lambda f: f.__setitem__("x", h5py.ExternalLink(str(tmp_path / "other.mat"), "x")),
    }
    for name, make in links.items():
        assert "another file" in refusal(pc.load_recording, written(name, make)).got


def test_a_hollow_nwb_file_is_refused(tmp_path):
    pytest.importorskip("pynwb", reason="needs pynwb, of the extra brains")
    import h5py

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datetime import UTC, datetime

        import pynwb

        nwb = pynwb.NWBFile("a test", "one", datetime(2024, 1, 1, tzinfo=UTC))
        nwb.add_acquisition(pynwb.TimeSeries("lfp", np.ones((4, 2)), "volts", rate=200.0))
        with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as file:
            file.write(nwb)
        with h5py.File(tmp_path / "a.nwb", "r+") as file:
            kept = dict(file["acquisition/lfp/data"].attrs)
            del file["acquisition/lfp/data"]
            hollow = file["acquisition/lfp"].create_dataset("data", (10**8, 10**3), "f4", chunks=(1000, 1000))
            for name, value in kept.items():
                hollow.attrs[name] = value
        assert "400,000,000,000 bytes" in refusal(pc.load_recording, tmp_path / "a.nwb").got


def test_a_csv_beyond_free_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("1,2\n3,4\n" * 100)
    monkeypatch.setattr(unpacked_sizes, "free_memory", lambda: 2000)
    assert "1,000 bytes" in refusal(pc.load_recording, tmp_path / "a.csv").expected


def test_pictures_of_too_many_pixels_are_refused(tmp_path):
    from PIL import Image

    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "pixels" in refusal(READERS["images"], tmp_path / "large.png").got
