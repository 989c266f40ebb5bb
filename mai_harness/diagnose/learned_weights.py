"""Quantisation-aware training left weights that are worse before anything is rounded."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import DROP_DB, RUINED_DB, db
from mai_harness.diagnose._measured import LOSSES, reading
from mai_harness.records import Evaluation, Finding, Severity, Tried


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``learned-weights``, where the graph that was trained is worse in float than the network that it came from."""
    examine, appraise = evaluation.examine, evaluation.appraise
    if evaluation.quantise is None or evaluation.quantise.learned_agreement is None or appraise is None:
        return
    before, learned, int8 = (appraise.mean(trial) for trial in ("float", "unrounded", "simulated"))
    if examine is None or before is None or learned is None or int8 is None or before - learned <= DROP_DB:
        return
    fp32, _ = reading(evaluation, "fp32", "float")
    right, where = reading(evaluation, "dequantised", "dequantised")
    loss = before - learned if fp32 is None or right is None else fp32 - right
    severity: Severity = "error" if loss >= RUINED_DB else "warning"
    whole = "" if fp32 is None or right is None else f" On {where} FP32 has {db(fp32)}, INT8 {db(right)}."
    yield Finding(
        id="learned-weights",
        severity=severity,
        title="Training with INT8's rounding cost more than the rounding",
        evidence=f"On the samples the float network has {db(before)}, the graph that was trained on {db(learned)} with "
        f"nothing rounded, and {db(int8)} in INT8.{whole}",
        explanation="The loss is in the weights that quantisation-aware training left, not in their rounding. It moved "
        "away from the float optimum and did not come back.",
        remedy="Train longer with INT8's rounding, at a lower learning rate that falls to zero; or quantise after "
        "training: remove learned.safetensors.",
        explained_db=loss,
        tried=(
            Tried(
                what="the float network's weights, unrounded",
                before_db=learned,
                after_db=before,
                how=f"float, on {len(examine.samples)} samples",
            ),
        ),
        explains=LOSSES if learned - int8 <= DROP_DB else (),
    )
