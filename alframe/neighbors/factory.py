"""Factory strings of FAISS whose numbers follow from the rows and the width."""

from __future__ import annotations

import math
import re

from alframe.errors import UserError

ROWS_PER_LIST = 64  # FAISS asks for 39 or more training rows for each list


def lists_for(rows: int) -> int:
    """Returns how many inverted lists so many rows get: about 4 sqrt(rows), a power of two."""
    lists = 1 << round(math.log2(4 * math.sqrt(max(1, rows))))
    return max(1, min(lists, rows // ROWS_PER_LIST))


def filled(factory: str, rows: int, width: int) -> str:
    """Returns a factory string with numbers in place of names.

    Args:
        factory: May hold ``{lists}``, inverted lists; ``{codes}``, the bytes of a product-quantized
            row, one for 4 values; ``{coded}``, the width rounded up to a multiple of these;
            ``{bits}``, 4 for each value.
        rows: To be indexed.
        width: Of the embeddings.

    Raises:
        UserError: For any other name.
    """
    codes = max(1, math.ceil(width / 4))
    numbers = {
        "lists": lists_for(rows),
        "codes": codes,
        "coded": codes * math.ceil(width / codes),
        "bits": 4 * width,
    }
    unknown = set(re.findall(r"\{(.*?)\}", factory)) - set(numbers)
    if unknown or factory.count("{") != factory.count("}"):
        raise UserError(
            f"index.factory={factory}: expected no names in braces but {', '.join(numbers)}"
        )
    return re.sub(r"\{(.*?)\}", lambda name: str(numbers[name[1]]), factory)
