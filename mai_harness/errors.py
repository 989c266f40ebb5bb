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
