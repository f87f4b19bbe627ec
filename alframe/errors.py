"""The one exception that a user's mistake raises."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake that the user can mend: printed as one sentence, exit code 2, no traceback.

    The message says what was expected, what came, and which config key to change.
    """


def placed(mistake: UserError, key: str) -> UserError:
    """Completes a key in a learner's message: it does not know if it is the target or the proxy."""
    begins_with_a_key = re.match(r"[a-z_.]+=", str(mistake))
    return UserError(f"{key}.{mistake}" if begins_with_a_key else f"{key}: {mistake}")
