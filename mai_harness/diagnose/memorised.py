"""The network knows a scored image, and gives what it remembers of it."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.records import Evaluation, Finding, Recognition

#: Lost by an image that is moved. What convolutions compute moves along to the byte, so even a network that was trained
#: on the scored images alone loses nothing (mirrored it loses 5 dB), and one that works in tiles less than 0.1 dB.
LOST_DB = 1.0


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``memorised``, by PSNR of whole images as they are, and moved first and brought back."""
    images = evaluation.appraise.recognition if evaluation.appraise else ()
    known = sorted((each for each in images if _lost(each) > LOST_DB), key=_lost, reverse=True)
    if not known:
        return
    others = f" So it is with {len(known)} images." if len(known) > 1 else ""
    yield Finding(
        id="memorised",
        severity="error",
        title="The network remembers images that it is scored on",
        evidence=f"{_told(known[0])}{others}",
        explanation="These outputs are remembered, not computed: a network that upscales does not mind whether an "
        "image is moved by a few pixels. The file holds the scored images, or enough of them to know them.",
        remedy="Take out of the network what is there for single images, such as constants of an image's size, "
        "comparisons with the input, and branches; a score that is made so is none.",
        explained_db=_lost(known[0]),
        explains=("overfitted",),
    )


def _lost(image: Recognition) -> float:
    return image.plain_db - image.moved_db


def _told(known: Recognition) -> str:
    return (
        f"{known.image} reaches {db(known.plain_db)} as it is; moved by a few pixels first and brought back after, "
        f"{db(known.moved_db)}; mirrored, {db(known.mirrored_db)}."
    )
