"""The one exception that is a message to the user."""


class UserError(Exception):
    """Something the user can mend.

    Its text is one sentence that says what is wrong, where, and what would do. The command line prints it without a
    traceback and exits with code 2; every other exception is a defect of ours and keeps its traceback.
    """
