"""The exception for errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one line: what is wrong and what to do. Commands print it and exit with code 2.
    """
