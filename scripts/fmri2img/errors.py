"""The one exception a user can cause."""


class UserError(Exception):
    """Bad input: one line that names the file or configuration key and the remedy."""
