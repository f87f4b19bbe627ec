"""Any images or features that stand in one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

import numpy as np

from alframe.data.checks import Examples, clean_examples, clean_parts
from alframe.data.dataset import DataOptions, Dataset, build_dataset, parted
from alframe.data.splits import hold_out
from alframe.errors import UserError
from alframe.protocols import Array

_INPUTS = ("inputs", "images", "features")

# What numpy raises for pickles, truncated or damaged archives, and files of another kind.
_FAILURES = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    AttributeError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)


def array(
    *, path: str, test: float = 0.2, standardize: bool = True, **options: Unpack[DataOptions]
) -> Dataset:
    """Loads a .npz file with ``inputs`` (or ``images``, or ``features``) and ``labels``.

    Inputs are uint8 images [n, h, w] or [n, h, w, c], or float features [n, d]; labels are integers
    or strings [n]. ``test_inputs`` (or ``test_images``, ``test_features``) with ``test_labels``,
    and the names ``classes``, may stand beside them.

    Args:
        path: The file. It is read without pickle.
        test: The test part where the file has none, a fraction or a number of rows; stratified,
            always the same rows. Rows are numbers within the rest.
        standardize: Whether the inputs are standardized when they are learned from.
        **options: See `Splits` and `Loading`.

    Raises:
        UserError: For a file that is absent or not as above, and for splits that the rows do not
            allow.
    """
    source = f"data.path={path}"
    splits, loading = parted(options)
    file = Path(path).expanduser()
    content = read_arrays(file, source)
    train = _examples(content, "", source)
    aside = None
    if any(key.startswith("test_") for key in content):
        held_out = _examples(content, "test_", source)
    else:
        inputs, labels = train = clean_examples(*train, source)
        _, aside = hold_out(labels, test)
        held_out = inputs[aside], labels[aside]
    names = np.ravel(content["classes"]).astype(str).tolist() if "classes" in content else None
    train, held_out, classes = clean_parts(train, held_out, names, source)
    return build_dataset(file.stem, train, held_out, classes, splits, standardize, aside, loading)


def read_arrays(file: Path, source: str) -> dict[str, Array]:
    """Returns the arrays of a .npz file by name.

    Args:
        file: The file; it is read without pickle.
        source: The config key and its value, for errors.

    Raises:
        UserError: If it is absent or damaged.
    """
    if not file.is_file():
        raise UserError(f"{source}: expected a .npz file, but there is none at {file.absolute()}.")
    try:
        with np.load(file, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except _FAILURES as error:
        raise UserError(
            f"{source}: expected a .npz file of plain arrays, as numpy.savez writes it without "
            f"pickled objects ({error})."
        ) from error


def _examples(content: Mapping[str, Array], prefix: str, source: str) -> Examples:
    found = [prefix + key for key in _INPUTS if prefix + key in content]
    if len(found) != 1 or f"{prefix}labels" not in content:
        wanted = ", ".join(prefix + key for key in _INPUTS)
        raise UserError(
            f"{source}: expected {prefix}labels and just one of {wanted} in the file; "
            f"found {', '.join(content) or 'nothing'}."
        )
    return content[found[0]], content[f"{prefix}labels"]
