"""The one exception for mistakes a user can mend."""

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
"""Exit codes of commands: a user's mistake, Ctrl-C, SIGTERM."""


class UserError(ValueError):
    """A wrong input, setting or file.

    Its message is one line: what came, what is accepted, what to do.
    """


class MissingDependency(UserError):
    """An optional package is not installed; what needs it is left out, or asked for by name."""


class Unavailable(UserError):
    """A file that cannot be read now: in use, out of reach, or not for this user.

    It may be as it should.
    """


class IsForecast(UserError):
    """A file that was to be read as an observation, and is a forecast."""


class SaidElsewhere(UserError):
    """A mistake that another process of the same command says on the terminal."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its name."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def one_line(text: object) -> str:
    """A sentence as one line, whatever it was put together from."""
    return " ".join(str(text).split())


class Terminated(BaseException):
    """SIGTERM came, and what was being done is finished and saved."""
