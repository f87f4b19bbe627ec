"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake that the user can mend: printed as one sentence, exit code 2, no traceback.

    The message says what was expected, what came, and which config key to change.
    """
