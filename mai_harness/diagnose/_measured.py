"""What several diagnoses read off the measurements: the output's grid, the mean of a reading, the guilty layer."""

from mai_harness.records import AppraiseReport, Evaluation, ExamineReport, Tensor, TensorAnalysis, Tried
from mai_harness.tflite_graph.grid import CODES, IDENTITY_TOLERANCE, Grid

#: Findings that say no more than that INT8 lost something somewhere.
LOSSES = ("quantisation-loss", "high-dynamic-range", "feature-residual")


def output_of(evaluation: Evaluation) -> Tensor | None:
    """The INT8 file's output tensor if it is quantised to one scale."""
    examine = evaluation.examine
    if examine is None or not examine.graph.outputs:
        return None
    tensor = examine.graph.tensors[examine.graph.outputs[0]]
    return tensor if len(tensor.scales) == 1 else None


def covered(tensor: Tensor) -> tuple[float, float]:
    """Least and greatest value that the codes of a tensor stand for."""
    codes = CODES.get(tensor.dtype, CODES["uint8"])
    return Grid(tensor.scales[0], (tensor.zero_points or (0,))[0], *codes).limits


def width(limits: tuple[float, float]) -> float:
    """Of the range that holds these values and 0, as ranges of codes do."""
    return max(limits[1], 0.0) - min(limits[0], 0.0)


def bytes_are_pixels(tensor: Tensor) -> bool:
    """Whether scale and zero point are 1 and 0, or those of levels in [0, 1]."""
    low, high = covered(tensor)
    return low == 0 and min(abs(high / 255 - 1), abs(high - 1)) <= IDENTITY_TOLERANCE


def reading(evaluation: Evaluation, figure: str, trial: str) -> tuple[float | None, str]:
    """Mean PSNR over the scored set, or else over the samples; and which of the two it is."""
    scored = evaluation.score.mean(f"psnr_{figure}_db") if evaluation.score else None
    if scored is not None:
        return scored, "the scored set"
    return evaluation.appraise.mean(trial) if evaluation.appraise else None, "the samples"


def result_analysis(examine: ExamineReport) -> TensorAnalysis | None:
    """The analysis of the tensors that hold the output's values."""
    return examine.tensors[-1] if examine.tensors else None


def inner(examine: ExamineReport) -> tuple[TensorAnalysis, ...]:
    """All but the output's."""
    return examine.tensors[:-1]


def restored(appraise: AppraiseReport, analysis: TensorAnalysis) -> float:
    """PSNR gained if this layer alone is in float; 0 if that was not tried."""
    return appraise.gain(f"restored-{analysis.tensor}", "simulated") or 0.0


def guiltiest(evaluation: Evaluation) -> TensorAnalysis | None:
    """The layer whose rounding costs most."""
    examine, appraise = evaluation.examine, evaluation.appraise
    if examine is None or appraise is None or not examine.tensors:
        return None
    best = max(examine.tensors, key=lambda each: restored(appraise, each))
    return best if restored(appraise, best) > 0 else None


def simulated_on(examine: ExamineReport) -> str:
    """How a mend was tried that needs no new file."""
    return f"INT8 arithmetic simulated, on {len(examine.samples)} samples"


def tried(evaluation: Evaluation, trial: str, over: str, what: str) -> tuple[Tried, ...]:
    """A simulated mend against another trial; nothing if either was not measured."""
    examine, appraise = evaluation.examine, evaluation.appraise
    if examine is None or appraise is None:
        return ()
    before, after = appraise.mean(over), appraise.mean(trial)
    if before is None or after is None:
        return ()
    return (Tried(what=what, before_db=before, after_db=after, how=simulated_on(examine)),)


def span(limits: tuple[float, float]) -> str:
    """A range as written in findings."""
    return f"[{limits[0]:.4g}, {limits[1]:.4g}]"
