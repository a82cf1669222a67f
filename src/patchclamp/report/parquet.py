"""A noun's whole table as one Parquet file, for pandas, Polars and DuckDB."""

from pathlib import Path

from patchclamp.core.arguments import checked
from patchclamp.core.disk import refuse_write
from patchclamp.core.errors import PatchclampError
from patchclamp.core.table import Tabular


@checked
def save_parquet(noun: Tabular, path: str | Path) -> None:
    """Write all rows of a noun's table, one column each, whole or not at all.

    Args:
        noun: what has a table.
        path: of the file; an earlier one is replaced.

    Raises:
        PatchclampError: pyarrow is not installed, or a file that cannot be written.

    Cost: memory of all columns.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise PatchclampError(
            expected="pyarrow, which writes Parquet", got="none", remedy="pip install 'patchclamp[parquet]'"
        ) from problem
    whole, place = noun.table(), Path(path)
    columns = list(zip(*whole.rows, strict=True)) or [()] * len(whole.columns)
    table = pyarrow.table({name: list(column) for name, column in zip(whole.columns, columns, strict=True)})
    part = place.with_name(f"{place.name}.part")
    try:
        with part.open("wb") as file:  # pyarrow takes some names for addresses elsewhere
            pyarrow.parquet.write_table(table, file)
        part.replace(place)
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise refuse_write(place, problem) from problem
