"""What several diagnoses share: how grave a loss is, and how figures are written."""

from mai_harness.records import Severity

DROP_DB = 0.3  # ABPN loses 0.07 to 0.13 by quantisation (arXiv 2105.09750, tables 4 and 5)
RUINED_DB = 3.0  # of INT8 that is of no more use
ERROR_DB, WARNING_DB = 1.0, 0.1  # an entry of the challenge is a dozen others behind after a loss of 1 dB


def grade(loss_db: float) -> Severity:
    """How grave a loss of PSNR is."""
    return "error" if loss_db >= ERROR_DB else "warning" if loss_db >= WARNING_DB else "info"


def db(value: float) -> str:
    """A PSNR or a difference of two, as written in findings."""
    return f"{value:.2f} dB"
