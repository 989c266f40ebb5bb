"""Two forms of the network that should be the same are not."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.records import Evaluation, Finding

_PARITY, _GRAVE_PARITY = 1.0, 8.0  # grey levels
_MATCHED = 0.5  # share of kernels that a file holds of the network that was quantised
_SAME_DB = 50.0  # from which on two files compute the same, however their weights are stored
_TWIN_DB, _GRAVE_TWIN_DB = 30.0, 20.0  # two forms of one network are 40 dB alike and more


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``static-dynamic``, ``conversion-differs`` and ``other-network``, by differences that were measured."""
    yield from _static_dynamic(evaluation)
    yield from _conversion(evaluation)
    yield from _other_network(evaluation)


def _static_dynamic(evaluation: Evaluation) -> Iterator[Finding]:
    examine, appraise = evaluation.examine, evaluation.appraise
    difference = (examine.dynamic_difference if examine else None) or 0.0
    rules = evaluation.check.rules if evaluation.check else ()
    failed = next((rule.found for rule in rules if rule.rule == "dynamic" and rule.status == "fail"), "")
    if not failed and difference <= 0:
        return
    told = [f"Rule 'dynamic': {failed}."] if failed else []
    told += [f"On the samples the outputs differ by up to {difference:g} codes."] if difference > 0 else []
    static, dynamic = (appraise.mean("raw"), appraise.mean("dynamic")) if appraise else (None, None)
    if static is not None and dynamic is not None:
        told.append(f"The static model reaches {db(static)}, the dynamic one {db(dynamic)}.")
    yield Finding(
        id="static-dynamic",
        severity="error",
        title="The static and the dynamic model differ",
        evidence=" ".join(told),
        explanation="model.tflite is timed and model_none.tflite is scored, so both must be the same network. "
        "Here they give other pixels for the same image.",
        remedy="Convert both from the same weights and with the same calibration images, or make model_none.tflite "
        "from model.tflite by freeing height and width alone.",
        explained_db=abs(static - dynamic) if static is not None and dynamic is not None else None,
    )


def _conversion(evaluation: Evaluation) -> Iterator[Finding]:
    reports = (evaluation.export, evaluation.calibrate)
    steps = [step for report in reports if report for step in report.parity if step.max_abs_difference > _PARITY]
    if not steps:
        return
    worst = max(steps, key=lambda step: step.max_abs_difference)
    told = [f"{step.before} to {step.after}: up to {step.max_abs_difference:.3g} grey levels" for step in steps]
    yield Finding(
        id="conversion-differs",
        severity="error" if worst.max_abs_difference > _GRAVE_PARITY else "warning",
        title="A conversion changes the network",
        evidence=f"On one probe image, {'; '.join(told)}; rounding of float32 stays below {_PARITY:g}.",
        explanation=f"From {worst.before} to {worst.after} the network computes something else. "
        "What is scored is what came out of that step, and not the network that was given.",
        remedy="Look for an operator that the two understand differently, such as padding, resizing with half-pixel "
        "centres, or a layer still in training mode. Write it by plain operators, or give the network in another form.",
    )


def _other_network(evaluation: Evaluation) -> Iterator[Finding]:
    alike = evaluation.examine.twin_psnr_db if evaluation.examine else None
    matched = evaluation.examine.matched if evaluation.examine else None
    is_other = matched is not None and matched < _MATCHED and (alike is None or alike < _SAME_DB)
    if not is_other and (alike is None or alike >= _TWIN_DB):
        return
    images = ""
    if alike is not None:
        images = f"The float file and the INT8 file computed in float give images that are {db(alike)} alike; two "
        images += f"forms of one network are above {_TWIN_DB:g} dB."
    weights = "" if matched is None else f" Of the kernels {100 * matched:.0f} % have their float values in it."
    yield Finding(
        id="other-network",
        severity="error" if alike is not None and alike < _GRAVE_TWIN_DB else "warning",
        title="The float file is another network",
        evidence=f"{images}{weights}".strip(),
        explanation="The two files do not hold the same weights, or do not take and give the same values. "
        "So the difference of their scores is not what quantisation costs.",
        remedy="Convert both from the same weights, with the same range of input and output, or leave the float file "
        "out: the INT8 file's own weights, dequantised, then take its place.",
    )
