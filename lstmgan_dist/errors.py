"""The exceptions that are messages to the user, and how errors read."""


class UserError(Exception):
    """Something the user can mend.

    Its text is one sentence that says what is wrong, where, and what would do. The command line prints it without a
    traceback and exits with code 2; every other exception is a defect of ours and keeps its traceback.
    """


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, by Ctrl-C or another signal, and has written its checkpoint: its text says so.

    number: of the signal.
    """

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


def sentence_of(error: UserError | OSError) -> str:
    """The error as one sentence for a person."""
    if isinstance(error, UserError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
