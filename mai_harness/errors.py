"""What can go wrong and be told to a person: one root, one leaf a cause."""

REASON = 1000  # characters of what is told of a submission


class HarnessError(Exception):
    """Something a person can mend; the message says what, where and how."""


class InvalidSubmission(HarnessError):
    """A submission cannot be read as any known format."""


class StageFailed(HarnessError):
    """A stage ended without a result; ``kind`` is error, timeout, memory or crash.

    The message may hold a submission's own words: it is made one printable line of at most ``REASON`` characters.
    ``output_shape`` and ``not_finite`` are those of the :class:`ModelContractError` that ended it.
    """

    def __init__(
        self,
        message: str,
        kind: str = "error",
        stage: str = "",
        output_shape: tuple[int, ...] = (),
        not_finite: bool = False,
    ) -> None:
        super().__init__(printable(" ".join(message.split()))[:REASON])
        self.kind = kind
        self.stage = stage
        self.output_shape = output_shape
        self.not_finite = not_finite


class DataNotFound(HarnessError):
    """Images that were asked for are not where they were said to be."""


class ModelContractError(HarnessError):
    """A model does not turn LR RGB into HR RGB as the challenge asks.

    Args:
        output_shape: of the output, where it is that which is wrong.
        not_finite: the output has NaN or infinite values.
    """

    def __init__(self, message: str, output_shape: tuple[int, ...] = (), not_finite: bool = False) -> None:
        super().__init__(message)
        self.output_shape = output_shape
        self.not_finite = not_finite


class ResultsUnreadable(HarnessError):
    """A results file is damaged or of a schema version this harness does not know."""


def gist(error: Exception) -> str:
    """What a person can use of TensorFlow's pages of text: its own 'error:' lines, or else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [line.rpartition("error: ")[2] for line in lines if "error: " in line]
    return "; ".join(dict.fromkeys(told or lines[-1:]))[:300]


def printable(text: str) -> str:
    """The text with a replacement character for all that does not print, such as control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
