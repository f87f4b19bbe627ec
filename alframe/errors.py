"""The one exception that a user's mistake raises, and what its message is made of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """A mistake that the user can mend: printed as one sentence, exit code 2, no traceback.

    The message says what was expected, what came, and which config key to change.
    """


def placed(mistake: UserError, key: str) -> UserError:
    """Completes a key in a learner's message: it does not know if it is the target or the proxy."""
    begins_with_a_key = re.match(r"[a-z_.]+=", str(mistake))
    return UserError(f"{key}.{mistake}" if begins_with_a_key else f"{key}: {mistake}")


def nearest(word: str, known: Iterable[str], most: int = 1) -> str:
    """Returns " (did you mean X?)", or up to so many, or nothing where no known word is near."""
    public = [name for name in known if not name.rpartition(".")[2].startswith("_")]
    close = difflib.get_close_matches(word, public, n=most, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close and close[0] != word else ""


def differing(before: object, after: object) -> tuple[object, object]:
    """Returns of two mappings the entries that differ, in words; anything else as it is."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return before, after
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    words = [", ".join(f"{name} {each.get(name, '(absent)')}" for name in names)
             for each in (before, after)]  # fmt: skip
    return words[0], words[1]
