"""What can go wrong and be told to a person: one root, one leaf a cause."""


class HarnessError(Exception):
    """Something a person can mend; the message says what, where and how."""


class InvalidSubmission(HarnessError):
    """A submission cannot be read as any known format."""


class StageFailed(HarnessError):
    """A stage ended without a result; ``kind`` is error, timeout, memory or crash."""

    def __init__(self, message: str, kind: str = "error", stage: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.stage = stage


class DataNotFound(HarnessError):
    """Images that were asked for are not where they were said to be."""


class ModelContractError(HarnessError):
    """A model does not turn LR RGB into HR RGB as the challenge asks."""


class ResultsUnreadable(HarnessError):
    """A results file is damaged or of a schema version this harness does not know."""


def gist(error: Exception) -> str:
    """What a person can use of TensorFlow's pages of text: its own 'error:' lines, or else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = [line.rpartition("error: ")[2] for line in lines if "error: " in line]
    return "; ".join(dict.fromkeys(told or lines[-1:]))[:300]
