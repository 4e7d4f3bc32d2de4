"""The error that a person can mend."""


class UserError(Exception):
    """Something the user can put right.

    The message is one line that says what is wrong and what to do. Commands print it and exit with 2.
    """
