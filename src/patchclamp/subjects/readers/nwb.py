"""Every series over time, and the spike times of units."""

from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.neural_files import Contents, Reader, import_reader, unreadable
from patchclamp.subjects.unpacked_sizes import hdf5_bytes, refuse_if_larger


def read(path: Path) -> Contents:
    """Read the series and units of a file.

    Raises:
        PatchclampError: larger than memory, or no package that reads it.
        Damaged: it is no NWB file.
    """
    pynwb = import_reader("pynwb", path)
    try:
        with pynwb.NWBHDF5IO(str(path), mode="r") as io:
            nwb_file = io.read()
            refuse_if_larger(path, sum(hdf5_bytes(path, one) for one in _nwb_datasets(pynwb, nwb_file)))
            return _nwb_contents(pynwb, nwb_file)
    except PatchclampError:
        raise
    except Exception as problem:  # pynwb, hdmf and HDF5 each have errors of their own
        raise unreadable(path, "an NWB file", problem) from problem


def _nwb_datasets(pynwb: Any, nwb: Any) -> list[Any]:
    """Return the datasets of a file that are read whole."""
    series = [one for one in nwb.objects.values() if isinstance(one, pynwb.TimeSeries)]
    datasets = [data for one in series for data in (one.data, one.timestamps)]
    if nwb.units is not None and "spike_times" in nwb.units.colnames:
        times = nwb.units["spike_times"]
        datasets += [times.data, getattr(getattr(times, "target", None), "data", None)]
    return [one for one in datasets if hasattr(one, "is_virtual")]


def _nwb_contents(pynwb: Any, nwb: Any) -> Contents:
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for series in nwb.objects.values():
        if not isinstance(series, pynwb.TimeSeries):
            continue
        stored = np.asarray(series.data[:]) if series.data is not None else np.zeros(0)
        if stored.dtype.kind not in "biuf" or not stored.size or stored.ndim > 2:
            skipped[series.name] = "no numbers over time"
            continue
        name = series.name if series.name not in arrays else f"{series.parent.name}/{series.name}"
        values = stored if stored.ndim == 2 else stored[:, None]
        scaled = series.conversion != 1.0 or series.offset != 0.0
        arrays[name] = values * series.conversion + series.offset if scaled else values
        facts[name] = {"measure": _measure(series), "axes": ("time", "unit"), **_clock(series, len(values))}
    events: dict[str, tuple[np.ndarray, ...]] = {}
    if nwb.units is not None and "spike_times" in nwb.units.colnames:
        events["units"] = tuple(np.asarray(nwb.units["spike_times"][i], dtype=float) for i in range(len(nwb.units)))
        facts["units"] = {"axes": ("unit", "time")}
    return Contents(arrays, events, facts=facts, skipped=skipped)


def _measure(series: Any) -> str | None:
    """Return the unit that a series states; words for none leave it unknown, but ΔF/F has none by nature."""
    stated = str(series.unit or "").strip()
    if stated.lower() not in {"", "n.a.", "n/a", "na", "a.u.", "au", "arbitrary", "unknown", "none"}:
        return stated
    return "ΔF/F" if type(series.parent).__name__ == "DfOverF" else None


def _clock(series: Any, n: int) -> dict[str, Any]:
    if series.rate is not None:
        return {"rate": float(series.rate), "start": float(series.starting_time or 0.0)}
    return {"clock": np.asarray(series.timestamps[:], dtype=float)} if series.timestamps is not None and n > 1 else {}


READER = Reader((".nwb",), read)
