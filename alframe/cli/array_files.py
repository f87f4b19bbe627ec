"""Reads arrays from files: memory-mapped where the format allows it, and never a pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alframe.errors import UserError
from alframe.protocols import Array, Rows

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ".npy, .npz, .parquet or .safetensors"


def read_tensors(name: str, flag: str) -> dict[str, Tensor]:
    """Returns the arrays of a file by name; a file that holds one without a name calls it "".

    Args:
        name: ``FILE`` or ``FILE:ARRAY``, to take one of several arrays.
        flag: Of the command line, for errors.

    Raises:
        UserError: For a file that is absent, of another format or damaged.
    """
    file, wanted = _split(name)
    if not file.is_file():
        raise UserError(f"{flag}={name}: expected a file, but there is none at {file.absolute()}")
    try:
        arrays = _READERS[file.suffix.lower()](file)
    except KeyError:
        raise UserError(
            f"{flag}={name}: expected {FORMATS}, got {file.suffix or 'no'} format"
        ) from None
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{flag}={name}: expected {FORMATS} of plain numbers ({text})") from error
    if wanted is None:
        return arrays
    if wanted not in arrays:
        raise UserError(f"{flag}={name}: expected one of {', '.join(arrays)}, got {wanted}")
    return {wanted: arrays[wanted]}


def read_array(name: str, flag: str, axes: int, usual: str) -> Tensor:
    """Returns the one array of a file, or that of the usual name where there are several.

    Args:
        name: ``FILE`` or ``FILE:ARRAY``.
        flag: Of the command line, for errors.
        axes: Expected number of axes.
        usual: Name of the array where the file holds several.

    Raises:
        UserError: Also for another number of axes, or values that are no numbers.
    """
    arrays = read_tensors(name, flag)
    if len(arrays) > 1 and usual not in arrays:
        raise UserError(
            f"{flag}={name} holds {', '.join(arrays)}: expected one array, or one that is called "
            f"{usual}; add :NAME to the file"
        )
    values = arrays[usual] if usual in arrays else next(iter(arrays.values()))
    if values.ndim != axes:
        raise UserError(f"{flag}={name}: expected {axes} axes, got shape {tuple(values.shape)}")
    return values


def read_rows(name: str, flag: str, total: int) -> Rows:
    """Returns row numbers, ascending: of an array file, or the ``row`` (or first) column of a .csv.

    Args:
        name: The file.
        flag: Of the command line, for errors.
        total: Rows that there are.

    Raises:
        UserError: For what is no list of distinct row numbers from 0 to ``total`` - 1.
    """
    rows = _read_column(name, flag, "row")
    if rows.shape == (0,):  # a .csv with a heading alone has no type
        rows = np.empty(0, dtype=np.int64)
    if rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise UserError(f"{flag}={name}: expected whole row numbers, got {rows.dtype}")
    outside = rows[(rows < 0) | (rows >= total)]
    if len(outside):
        raise UserError(
            f"{flag}={name}: expected row numbers from 0 to {total - 1}, got {len(outside)} "
            f"others, the first is {outside[0]}"
        )
    distinct: Rows = np.unique(rows).astype(np.int64)
    if len(distinct) < len(rows):
        raise UserError(f"{flag}={name}: {len(rows) - len(distinct)} rows come twice")
    return distinct


def read_labels(name: str, flag: str, known: Rows, total: int) -> Array:
    """Returns one label for each row [total]: whole numbers as they are, names in sorted order.

    Args:
        name: The file: one label for each row.
        flag: Of the command line, for errors.
        known: The rows whose labels are looked at; those of others may be missing.
        total: Rows that there are.

    Raises:
        UserError: For another number of labels, or known rows without one.
    """
    labels = _read_column(name, flag, "label")
    if labels.shape != (total,):
        raise UserError(
            f"{flag}={name}: expected {total} labels, one for each row, got shape {labels.shape}"
        )
    given = labels[known]
    missing = np.array([label is None or label != label for label in given.tolist()], dtype=bool)
    if missing.any():
        raise UserError(
            f"{flag}={name}: {missing.sum()} labels are missing, the first is that of row "
            f"{known[missing][0]}"
        )
    numbers = np.full(total, -1, dtype=np.int64)
    if given.dtype.kind in "iub" or (given.dtype.kind == "f" and (given % 1 == 0).all()):
        if len(given) and given.min() < 0:
            raise UserError(f"{flag}={name}: expected labels from 0 on, got {given.min()}")
        numbers[known] = given.astype(np.int64)
    else:
        numbers[known] = np.unique(given.astype(str), return_inverse=True)[1]
    return numbers


def _read_column(name: str, flag: str, usual: str) -> Array:
    file, _ = _split(name)
    if file.suffix.lower() not in (".csv", ".txt"):
        values: Array = read_array(name, flag, 1, usual).numpy()
        return values
    import pandas as pd

    try:
        with file.open(encoding="utf-8-sig") as lines:
            first = lines.readline()
        separator = next((mark for mark in ";\t," if mark in first), ",")
        heading = None if first.split(separator)[0].strip().lstrip("-").isdigit() else 0
        table = pd.read_csv(file, sep=separator, header=heading, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}={name}: expected a readable .csv ({error})") from error
    column = usual if usual in table.columns else table.columns[0]
    return table[column].to_numpy()


def _split(name: str) -> tuple[Path, str | None]:
    """Splits FILE:ARRAY; a file whose own name holds a colon is taken whole."""
    whole = Path(name).expanduser()
    stem, colon, array = name.rpartition(":")
    if whole.exists() or not colon or Path(stem).suffix.lower() not in _READERS:
        return whole, None
    return Path(stem).expanduser(), array


def _tensor(values: Array) -> Tensor:
    from alframe.functional.arrays import as_tensor

    if values.dtype.kind not in "fiub":
        raise ValueError(f"expected numbers, got {values.dtype}")
    return as_tensor(
        values if values.dtype.isnative else values.astype(values.dtype.newbyteorder())
    )


def _npy(file: Path) -> dict[str, Tensor]:
    return {"": _tensor(np.load(file, mmap_mode="r", allow_pickle=False))}


def _npz(file: Path) -> dict[str, Tensor]:
    with np.load(file, allow_pickle=False) as content:
        return {key: _tensor(content[key]) for key in content.files}


def _parquet(file: Path) -> dict[str, Tensor]:
    """A column of lists is an array of its name; columns of numbers are one array, side by side."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file, page_checksum_verification=True)
    arrays: dict[str, Any] = {}
    plain = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):
            arrays[name] = _tensor(_lists(name, column.combine_chunks()))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            plain.append(column.to_numpy())
        else:
            raise ValueError(f"expected columns of numbers, got column {name} of {kind}")
    if len(plain) == 1:
        arrays[table.column_names[0] if len(table.column_names) == 1 else ""] = _tensor(plain[0])
    elif plain:
        arrays[""] = _tensor(np.column_stack(plain))
    return arrays


def _lists(name: str, values: Any) -> Array:
    """Returns a column of lists as an array [n, d], refusing lists that are not equally long."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(values).fill_null(-1).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(lengths != lengths[:1])
    if len(other) or (lengths < 0).any():
        row = other[0] if len(other) else 0
        raise ValueError(
            f"expected lists of one length in column {name}, got {lengths[0]} values in row 0 and "
            f"{lengths[row]} in row {row} (-1 = no list)"
        )
    flat: Array = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1)


def _safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as content:  # maps the file into memory
            return {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error


_READERS = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
