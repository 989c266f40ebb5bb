"""The vocabulary: frozen, serialisable records that the stages pass on. Stages import it, never each other."""

import math
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

SCALE = 3
LR_FRAME = (360, 640)  # height and width of the challenge's LR frame, in pixels

_ITEM_BYTES = {"float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "float32": 4, "int32": 4, "uint32": 4}
_ITEM_BYTES |= {"float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}

Kind = Literal["torch", "onnx", "pt2", "keras", "saved_model", "tflite"]
Status = Literal["pass", "warn", "fail", "skip"]
Precision = Literal["int8", "fp32"]
#: How an output becomes pixels: INT8 bytes as they are, INT8 values dequantised, INT8 bytes if a network that does
#: not clip its output did, or the float twin's values.
Reading = Literal["raw", "dequantised", "mended", "fp32"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record: immutable, keyword-only, unknown fields refused."""


#: A file or folder that whoever gets the record reads. What a child process sees follows from these fields alone.
Place = Annotated[str, msgspec.Meta(extra={"place": True})]


def places(record: Record) -> tuple[Path, ...]:
    """Every :data:`Place` in a record and in the records that it holds, once each, if there is anything."""
    found = dict.fromkeys(_places(record, type(record)))
    return tuple(path for path in map(Path, found) if path.is_absolute() and path.exists())


def _places(value: Any, kind: Any) -> Iterator[str]:
    if isinstance(value, str):
        if getattr(kind, "__metadata__", None) and any(getattr(m, "extra", None) for m in kind.__metadata__):
            yield value
    elif isinstance(value, Record):
        hints = _hints(type(value))
        for field in value.__struct_fields__:
            yield from _places(getattr(value, field), hints[field])
    elif isinstance(value, tuple | dict):
        inner = [each for each in get_args(kind) if each is not Ellipsis]
        for each in value.values() if isinstance(value, dict) else value:
            for one in inner:
                yield from _places(each, one)


@cache
def _hints(kind: type[Record]) -> dict[str, Any]:
    return {name: _plain(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def _plain(hint: Any) -> Any:
    """Without ``None``, which a union may hold."""
    several = [each for each in get_args(hint) if each is not type(None)]
    return several[0] if get_origin(hint) in (Union, UnionType) and len(several) == 1 else hint


Preset = Literal["desk", "paper"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Phase(Record, frozen=True):
    """One pass of an optimiser over random patches, turned and mirrored; the loss is L1, in grey levels."""

    steps: Annotated[int, msgspec.Meta(ge=1)]
    batch: Annotated[int, msgspec.Meta(ge=1)] = 16
    patch: Annotated[int, msgspec.Meta(ge=8)] = 64  #: side of the LR patch, in pixels
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 1e-3  #: greatest of the schedule
    optimiser: Literal["adam", "soap"] = "adam"
    schedule: Literal["cosine", "halving"] = "cosine"
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05  #: cosine: share of the steps in which the rate rises
    halve_every: Annotated[int, msgspec.Meta(ge=1)] | None = None  #: halving: in steps
    bfloat16: bool = False  #: forward passes in bfloat16; weights and loss stay in float32
    float32_share: Share = 0.1  #: last share of the steps that is in float32 all the same
    l2_share: Share = 0.0  #: last share of the steps with the mean squared error for a loss
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if self.schedule == "halving" and self.halve_every is None:
            raise ValueError("schedule = 'halving' needs halve_every, in steps")

    def rate(self, step: int) -> float:
        """What the learning rate is multiplied by in this step, counted from 0; in [0, 1]."""
        if self.schedule == "halving" and self.halve_every is not None:
            return float(0.5 ** (step // self.halve_every))
        rising = round(self.warmup * self.steps)
        if step < rising:
            return (step + 1) / rising
        return (1 + math.cos(math.pi * (step - rising) / (self.steps - rising))) / 2


class QatRecipe(Phase, frozen=True):
    """``[train.qat]``: training with the rounding of INT8 in the network, after the float phase."""

    #: of the logarithms of scales: a range has to move by tens of per cent, a weight by far less
    scale_learning_rate: Annotated[float, msgspec.Meta(ge=0)] = 1e-2


class TrainRecipe(Phase, frozen=True):
    """``[train]`` of submission.toml: a preset, and whatever is written beside it."""

    preset: Preset = "desk"  #: gives the values of all that is left out
    start: str | None = None  #: weights in the submission's folder to go on from; by default random ones
    halves: bool = False  #: learn from half-size copies of the images too, which are sharper
    qat: QatRecipe | None = None


# ``paper`` is ABPN (arXiv 2105.09750, section 4.1), whose epochs are 1000 steps; ``desk`` fits two CPU cores.
PRESETS: dict[str, dict[str, Any]] = {
    "desk": {
        "steps": 100_000, "learning_rate": 5e-3, "optimiser": "soap", "bfloat16": True, "l2_share": 0.1,
        "qat": {"steps": 4_000, "learning_rate": 1e-4, "l2_share": 1.0},
    },
    "paper": {
        "steps": 1_000_000, "learning_rate": 1e-3, "schedule": "halving", "halve_every": 200_000,
        "qat": {"steps": 200_000, "learning_rate": 1e-4, "schedule": "halving", "halve_every": 50_000},
    },
}  # fmt: skip


def with_preset(given: dict[str, Any]) -> dict[str, Any]:
    """``[train]`` as it is written, with the values of its preset for what is left out.

    ``[train.qat]``, which may be empty, is filled in the same way; without it there is none. Nothing is validated:
    of an unknown preset only the name comes back.
    """
    name = given.get("preset", "desk")
    preset = {"preset": name, **PRESETS.get(str(name), {})}
    qat = preset.pop("qat", {})
    filled = {**preset, **given}
    if isinstance(given.get("qat"), dict):
        filled["qat"] = {**qat, **given["qat"]}
    return filled


class TrainingOutcome(Record, frozen=True):
    """What came of a phase, and what it learned from."""

    torch: str  #: version
    images: int  #: trained on
    images_sha256: str  #: over the HR pixels of those, in order
    validation_images: int
    seconds: float  #: over all sessions, without what was lost when one was killed
    final_loss: float  #: mean absolute error in grey levels over the last 100 steps
    validation_psnr_db: float | None  #: mean over the validation images, RGB; with INT8's rounding if it was trained


class TrainReport(TrainingOutcome, frozen=True):
    """How ``weights.safetensors`` came about."""

    recipe: TrainRecipe
    weights_sha256: str


class QatReport(TrainingOutcome, frozen=True):
    """How ``learned.safetensors`` came about."""

    recipe: QatRecipe
    learned_sha256: str


class WeightsCard(Record, frozen=True):
    """``weights.json``: how the weights beside it were made, as whoever made them says."""

    command: str
    machine: str
    training: TrainReport
    qat: QatReport | None = None  #: how ``learned.safetensors`` was


class Submission(Record, frozen=True):
    """One entry of ``submissions/``: what it is and where its bytes are."""

    name: str  #: file or folder name without suffix; unique
    title: str
    kind: Kind
    path: Place  #: the model itself: model.py, a file, or a SavedModel folder
    fingerprint: str  #: SHA-256 over every file of the submission
    authors: tuple[str, ...] = ()
    description: str = ""
    factory: str | None = None  #: torch only: callable in model.py that returns the nn.Module
    arguments: dict[str, Any] = {}
    weights: str | None = None
    learned: str | None = None  #: weights and ranges of quantisation-aware training, of the graph as it ships
    dynamic_path: Place | None = None  #: challenge package only: model_none.tflite
    root: Place = ""  #: the folder of all its files; empty if it is one file
    train: TrainRecipe | None = None


class CalibrationFrame(Record, frozen=True):
    """An LR frame that sets INT8 ranges: an .npy file, (360, 640, 3) uint8."""

    name: str
    path: Place


class LrImage(Record, frozen=True):
    """One LR image to upscale: an .npy file, (H, W, 3) uint8; its HR image stays with the scorer."""

    name: str
    path: Place


class Model(Record, frozen=True):
    """The TFLite files of one submission: paths of the INT8 model, static and dynamic, and of its float twin."""

    static: Place
    dynamic: Place | None = None  #: takes an LR image of any size
    float32: Place | None = None
    mended: Place | None = None  #: the INT8 model of a network without a clip, with one
    unrounded: Place | None = None  #: the INT8 model's graph before it was quantised: float weights


class Rejection(Record, frozen=True):
    """Something in ``submissions/`` that is no submission, and why."""

    name: str
    reason: str


class Parity(Record, frozen=True):
    """Largest absolute difference, in grey levels, between two forms of the same network on one probe image."""

    before: str
    after: str
    max_abs_difference: float


class ExportReport(Record, frozen=True):
    """What export made of a float model: ``model.onnx``, (1, 3, 360, 640) to (1, 3, 1080, 1920) float32."""

    parity: tuple[Parity, ...]
    rewrites: tuple[str, ...]
    untrained: bool = False  #: the network has parameters to train but came without weights


class CalibrateReport(Record, frozen=True):
    """What calibration made; ``frames`` names the images that set the ranges."""

    parity: tuple[Parity, ...]
    frames: tuple[str, ...]
    clipped_output: bool  #: the float output stays in [0, 255] for inputs far outside it, so the INT8 range is that
    output_range: tuple[float, float]  #: least and greatest float output on the calibration images, in grey levels


class GraphRewrite(Record, frozen=True):
    """One exact rewrite of the TFLite graph."""

    id: str
    text: str  #: what became what


class QuantiseReport(Record, frozen=True):
    """What quantisation made."""

    psnr_int8_to_float_db: float | None  #: raw INT8 bytes against the clipped float output, on the probe
    #: weights and ranges come from quantisation-aware training: share of the probe's output values within one code of
    #: those of the torch network that learned them; ``None`` if they come from calibration
    learned_agreement: float | None
    rewrites: tuple[GraphRewrite, ...]
    dynamic: bool  #: model_none.tflite runs at other sizes and gives the static model's pixels there
    dynamic_reason: str


class ModelFacts(Record, frozen=True):
    """What one TFLite file holds. Shapes are NHWC, a dynamic dimension is -1."""

    input_shape: tuple[int, ...]
    input_dtype: str
    output_shape: tuple[int, ...]
    output_dtype: str
    output_scale: float | None  #: of the output tensor; ``None`` if it is not quantised
    output_zero_point: int | None
    parameters: int  #: weights and biases
    macs: int | None  #: multiply-accumulates at the file's own input shape; ``None`` if that is dynamic
    size_bytes: int
    receptive_radius: int | None  #: LR pixels that an output pixel sees to each side; ``None`` if unbounded or unknown
    sha256: str = ""  #: of the file; empty where it was not kept


class Tensor(Record, frozen=True):
    """One tensor of the main subgraph; activations are NHWC unless the network says otherwise."""

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]  #: the shape with -1 where it is dynamic
    dtype: str  #: 'uint8', 'int8', 'int32', 'float32', ...
    scales: tuple[float, ...]  #: one, or one a channel of ``quantised_dimension``; empty if not quantised
    zero_points: tuple[int, ...]
    quantised_dimension: int
    buffer: int  #: tensors of the same buffer share their bytes
    stored_bytes: int  #: bytes in the file; 0 for activations
    values: tuple[int, ...] | None  #: of short int32 constants: shapes, paddings, axes

    @property
    def is_constant(self) -> bool:
        """Whether the file holds the tensor's values."""
        return self.stored_bytes > 0

    @property
    def elements(self) -> int:
        """Product of the shape; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes in the file, or in memory for an activation (0 for a type of no fixed width)."""
        return self.stored_bytes or self.elements * _ITEM_BYTES.get(self.dtype, 0)


class Op(Record, frozen=True):
    """One operator. Inputs and outputs are tensor indices, -1 for an input left out."""

    index: int
    name: str  #: 'CONV_2D', ... or the name of a custom operator
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]  #: the schema's accessor names, such as 'StrideH'; only those that the analyses need

    @property
    def label(self) -> str:
        """As reports name it: operator and index, such as 'CONV_2D 3'."""
        return f"{self.name} {self.index}"


class Graph(Record, frozen=True):
    """The main subgraph of one file, operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int
    size_bytes: int  #: of the file

    def operand(self, op: Op, position: int) -> Tensor | None:
        """The op's input at ``position``; ``None`` if it is left out."""
        index = op.inputs[position] if position < len(op.inputs) else -1
        return self.tensors[index] if index >= 0 else None

    def activations(self, op: Op) -> tuple[int, ...]:
        """The tensors that an operator reads and that are made when the model runs, once each, in order."""
        return tuple(i for i in dict.fromkeys(op.inputs) if i >= 0 and not self.tensors[i].is_constant)

    @property
    def makers(self) -> dict[int, Op]:
        """Tensor -> the operator that makes it."""
        return {index: op for op in self.ops for index in op.outputs}


class RuleResult(Record, frozen=True):
    """One rule of the challenge against one model."""

    rule: str
    title: str
    status: Status
    found: str
    remedy: str = ""


class TensorFact(Record, frozen=True):
    """One tensor of a TFLite file."""

    index: int
    name: str
    made_by: str  #: operator and its index, such as 'CONV_2D 3'; 'input', or 'constant'
    dtype: str
    shape: tuple[int, ...]
    scales: int  #: how many: 0 not quantised, 1 per tensor, more per channel
    scale: float | None  #: the first
    zero_point: int | None


class CheckReport(Record, frozen=True):
    """All rules, each with what was found, and every tensor and operator of the file."""

    facts: ModelFacts
    rules: tuple[RuleResult, ...]
    tensors: tuple[TensorFact, ...]

    @property
    def failed(self) -> bool:
        """Whether any rule failed."""
        return any(rule.status == "fail" for rule in self.rules)


class UpscaleReport(Record, frozen=True):
    """Upscaled images, one folder of .npy files a reading, numbered as the images were given."""

    method: str
    exact: bool
    folders: dict[Reading, str]  #: a reading whose pixels are another's names the same folder


class ImageScore(Record, frozen=True):
    """One image. ``figures`` are those of ``metrics.FIGURES``: ``psnr_raw_db``, ``ssim_fp32``, ...

    A figure is ``None`` where there is no such reading, or where PSNR is infinite: identical images.
    """

    name: str
    figures: dict[str, float | None]


class ScoreReport(Record, frozen=True):
    """Fidelity on one data set. Raw takes the output bytes as pixels, as the challenge's script does."""

    dataset: str
    dataset_fingerprint: str
    shave: int  #: border pixels left out
    method: str  #: whole images, or tiles and why
    exact: bool  #: every pixel is that of a run on the whole image
    images: tuple[ImageScore, ...]
    output_sha256: str = ""  #: over the raw pixels of all images, in order; empty where it was not kept

    def mean(self, figure: str) -> float | None:
        """Mean of one figure over the images; ``None`` if any image has none, as in results older than the figure."""
        values = [image.figures.get(figure) for image in self.images]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(values) else None


class Ratio(Record, frozen=True):
    """How two latencies that were sampled in turns compare: the median over the rounds of their quotients."""

    value: float
    low: float  #: of the 95 % confidence interval of that median
    high: float
    rounds: int
    outliers: int  #: rounds beyond Tukey's fences, 1.5 interquartile ranges outside the quartiles

    @property
    def uncertainty(self) -> float:
        """Half the width of the confidence interval, as a share of the value."""
        return (self.high - self.low) / 2 / self.value


class Layer(Record, frozen=True):
    """One operator of a network on one backend."""

    name: str  #: operator and its index in the file, such as 'CONV_2D 3'
    place: str  #: what ran it, such as 'XNNPACK', 'built-in kernel', 'NPU', 'CPU', 'GPU delegate'
    ms: float
    cycles: int | None = None
    traffic_bytes: dict[str, int] = {}  #: to and from each memory
    rule: str = ""  #: how ``ms`` was estimated, where the backend itself puts the operator at nothing


class LatencyReport(Record, frozen=True):
    """Single-stream latency of one file on one backend: samples, warm-up apart, or an estimate, and its layers."""

    backend: str  #: as on the command line
    precision: Precision
    device: str
    how: str  #: how the latency was obtained, in a sentence
    threads: int | None = None
    versions: dict[str, str] = {}  #: of what measured or estimated
    warmup_ms: tuple[float, ...] = ()
    samples_ms: tuple[float, ...] = ()
    estimate_ms: float | None = None  #: in place of samples
    traffic_bytes: dict[str, int] = {}  #: of one frame, to and from each memory
    layers: tuple[Layer, ...] = ()
    layers_how: str = ""
    layers_alone: bool = False  #: layers were timed one by one, so that their sum predicts the whole
    reference_ms: tuple[float, ...] = ()  #: the reference model's INT8 samples of the same rounds
    ratio: Ratio | None = None  #: to the reference model

    @property
    def latency_ms(self) -> float:
        """Median of the timed runs, or the estimate."""
        return statistics.median(self.samples_ms) if self.estimate_ms is None else self.estimate_ms

    @property
    def by_rule_ms(self) -> float:
        """The part of the estimate that the backend did not make itself: its layers with a rule."""
        return sum(layer.ms for layer in self.layers if layer.rule)

    def quantile_ms(self, tenths: int) -> float:
        """The ``tenths``-th decile of the timed runs, 1 to 9."""
        return statistics.quantiles(self.samples_ms, n=10, method="inclusive")[tenths - 1]


class Form(Record, frozen=True):
    """One way to write a network whose latency is compared with that of others of its group."""

    id: str
    group: str
    title: str
    what: str
    factory: str
    arguments: dict[str, Any]
    without: tuple[str, ...] = ()  #: rewrites of the graph that are left out
    paper: str = ""  #: what ABPN's paper (arXiv 2105.09750) has of it


class BackendReport(Record, frozen=True):
    """What one backend made of one submission; ``reports`` begins with the one that ranks."""

    backend: str
    reports: tuple[LatencyReport, ...]
    refusals: tuple[str, ...] = ()  #: what would not run there, each with its reason


class Gain(Record, frozen=True):
    """What a rewrite of the graph gained: medians of the INT8 model with it and without it, timed in turns."""

    backend: str
    rewrite: str  #: its id, or several joined by ' and '
    latency_ms: float
    without_ms: float

    @property
    def ratio(self) -> float:
        """Latency with the rewrite over latency without it."""
        return self.latency_ms / self.without_ms


class ChallengeScore(Record, frozen=True):
    """The challenge's score and its inputs, or why there is none."""

    formula: str
    backend: str
    psnr_db: float  #: INT8 raw
    runtime_ms: float | None = None
    runtime_from: str = ""  #: how the runtime follows from the measurement
    value: float | None = None
    refusal: str = ""


class Sample(Record, frozen=True):
    """A part of a scored image that is examined, in LR pixels."""

    image: int  #: place among the data set's pairs
    name: str
    top: int
    left: int
    height: int
    width: int


class TensorAnalysis(Record, frozen=True):
    """One activation of an INT8 file on the samples, beside the same graph in float. Values are real, not codes."""

    tensor: int  #: its index in the graph
    layer: str  #: the operator that makes it, such as 'CONV_2D 3'
    name: str
    scale: float
    zero_point: int
    covered: tuple[float, float]  #: least and greatest value that a code stands for
    used: tuple[float, float]  #: least and greatest value in float
    saturated: float  #: share of the float values that no code stands for, beyond half a step
    effective_bits: float  #: log2 of the codes that the float values fill; 8 if all
    sqnr_db: float | None  #: signal to quantisation noise, all that comes before included; ``None`` if exact
    injected_sqnr_db: float | None  #: of this layer's rounding alone, behind exact inputs
    channels: int
    dead_channels: int  #: of one value on every sample, in float
    widest_channel: int
    channel_ratio: float  #: range of the widest channel over the median one; 1 if there is one channel
    weight_scales: int = 0  #: 1 per tensor, more per channel, 0 without weights
    weight_ratio: float | None = None  #: greatest over least of the output channels' weight ranges

    @property
    def has_wide_channel(self) -> bool:
        """Whether one channel is so wide that the others are left with three bits less."""
        return self.channel_ratio >= 8.0


HELD_OUT = "held-out"  #: the trial on photographs that are not scored, one file each
#: Trials on whole scored images, one file each, upscaled as for the score: as they are, and changed before and back
#: after. They are anchored at the top left; what was moved in from beyond the image is cut off at bottom and right.
WHOLE, MIRRORED, MOVED = "whole", "whole mirrored", "whole moved"


class Trial(Record, frozen=True):
    """What a model, changed in one way, gave on every sample: ``0000.npy``, ... in ``folder``.

    ``values`` are float32 levels as the network gives them, (3h, 3w, 3); ``pixels`` are uint8, read as pixels.
    """

    id: str
    what: str
    folder: str
    reading: Literal["values", "pixels"]
    tensor: int | None = None  #: of a trial ``restored-N``: first tensor of the group that is not rounded


class ExamineReport(Record, frozen=True):
    """A TFLite file run in many ways on LR samples: what its tensors hold, and outputs for the scorer to compare."""

    graph: Graph
    layout: Literal["NHWC", "NCHW", "swapped", "unknown"]  #: of the input; swapped: width before height
    factor: float | None  #: output height over input height
    samples: tuple[Sample, ...]
    twin: Literal["given", "derived"]  #: weights of the float trials: of the float twin, or the file's own, dequantised
    whole: tuple[
        int, ...
    ] = ()  #: places of the images of the trials WHOLE, MIRRORED and MOVED among the data set's pairs
    obstacle: str = ""  #: why it does not run at all
    unsimulated: str = ""  #: why there is no layer-by-layer analysis
    agreement: float | None = None  #: share of output codes that the simulation has within 1 of LiteRT's
    residual: Literal["image", "feature", "none"] | None = None  #: what the output adds to; ``None`` if not known
    not_finite: str = ""  #: the first layer with NaN or infinite float values
    constant: str = ""  #: the first layer with one value in all places
    twin_psnr_db: float | None = None  #: between the float file as given, and the graph of the INT8 file in float
    matched: float | None = None  #: share of the kernels whose float values the float file holds
    dynamic_difference: float | None = None  #: largest difference of ``model_none.tflite``, in codes
    recalibrated: dict[int, tuple[float, float]] = {}  #: ranges on the harness's calibration images, by tensor
    recalibrated_unit: dict[int, tuple[float, float]] = {}  #: the same on these images over 255; where layers saturate
    tensors: tuple[TensorAnalysis, ...] = ()
    trials: tuple[Trial, ...] = ()


class Undo(Record, frozen=True):
    """A fault that was undone on the samples, and the mean PSNR before and after."""

    id: str  #: family, such as 'colour-order', 'value-range', 'shift', 'pixel-order'
    what: str  #: such as 'the output's channels reversed'
    carrier: Literal["int8", "float"]  #: on whose output
    before_db: float
    after_db: float
    share_better: float  #: of the samples
    details: dict[str, float] = {}  #: such as the shift in pixels

    @property
    def gain_db(self) -> float:
        """What undoing it gave."""
        return self.after_db - self.before_db


class Border(Record, frozen=True):
    """PSNR within ``width`` HR pixels of the image's edge and inside, of the INT8 pixels and of bicubic upscaling."""

    width: int
    border_db: float
    inside_db: float
    bicubic_border_db: float
    bicubic_inside_db: float
    mirrored_db: float | None  #: of whole samples that were mirrored at the edge first
    whole_db: float  #: of the same samples as they are


class Seams(Record, frozen=True):
    """A grid that shows in the error: rows or columns where neighbours differ more than elsewhere."""

    axis: Literal["rows", "columns"]
    places: tuple[int, ...]  #: HR pixels
    strength: float  #: step of the error there over the median step
    at_stake_db: float = 0.0  #: PSNR of the pixels that are not near them, less that of all


class Plateau(Record, frozen=True):
    """A level inside (0, 255) at which the output stops, where HR goes on."""

    end: Literal["top", "bottom"]
    level: float
    share: float  #: of the pixels
    at_stake_db: float  #: gained if these pixels were right


class Exhibit(Record, frozen=True):
    """One patch as pictures, lossless WebP, and histograms over all samples."""

    image: str
    top: int  #: HR pixels
    left: int
    pictures: dict[str, bytes]  #: by what they show: raw, mended, fp32, hr, error
    mended: str = ""  #: what was done for the picture ``mended``
    histogram: tuple[int, ...] = ()  #: of the 256 output bytes
    histogram_hr: tuple[int, ...] = ()


class HeldOut(Record, frozen=True):
    """Mean FP32 PSNR over that of the reference model, ABPN in INT8, on the scored set and on other photographs."""

    images: tuple[str, ...]  #: the others
    scored_gain_db: float
    gain_db: float
    bicubic_scored_db: float  #: bicubic upscaling over the reference model, on the scored set
    bicubic_db: float


class Recognition(Record, frozen=True):
    """PSNR of one whole image as it is, and mirrored or moved first and brought back; 100 dB at most."""

    image: str
    plain_db: float
    mirrored_db: float
    moved_db: float


class AppraiseReport(Record, frozen=True):
    """Trials compared with HR. PSNR of a sample is ``None`` where infinite: identical images."""

    psnr: dict[str, tuple[float | None, ...]]  #: by trial
    undone: tuple[Undo, ...] = ()
    border: Border | None = None
    seams: tuple[Seams, ...] = ()
    plateaus: tuple[Plateau, ...] = ()
    spread: float = 0.0  #: standard deviation of the output bytes over all samples
    exhibit: Exhibit | None = None
    held_out: HeldOut | None = None
    recognition: tuple[Recognition, ...] = ()

    def mean(self, trial: str) -> float | None:
        """Mean PSNR of a trial over the samples; ``None`` if there is none, or one is infinite."""
        values = self.psnr.get(trial, ())
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(values) else None

    def gain(self, trial: str, over: str) -> float | None:
        """Mean PSNR of a trial less that of another."""
        a, b = self.mean(trial), self.mean(over)
        return None if a is None or b is None else a - b


class Window(Record, frozen=True):
    """A part of a scored image at its own pixels, as every form of the network gives it; places in HR pixels."""

    image: str
    top: int
    left: int
    height: int
    width: int
    #: 'image': the part of the image that stands for it, the same for every submission; 'gap': where INT8 is furthest
    #: from FP32; 'error': where INT8 is furthest from HR
    found: Literal["image", "gap", "error"]
    #: files in ``pictures/``, lossless WebP, by what they show: 'hr'; 'lr', upscaled by bicubic interpolation; and the
    #: readings: 'raw', 'fp32', and 'dequantised' and 'mended' where their pixels are others than raw
    pictures: dict[str, str]
    psnr: dict[str, float | None]  #: of these pixels, RGB, in dB, by the same keys but 'hr'; ``None`` where infinite


class GalleryReport(Record, frozen=True):
    """What there is to see: the worst places of all images first, and then a part of each image."""

    windows: tuple[Window, ...]


Severity = Literal["info", "warning", "error"]


class Tried(Record, frozen=True):
    """A mend that was tried, and the mean PSNR without it and with it."""

    what: str
    before_db: float
    after_db: float
    how: str  #: how it was tried, such as 'INT8 arithmetic simulated on 6 samples'


class Finding(Record, frozen=True):
    """One diagnosis: what happened, the measured evidence, what to do, and what that gave where it could be tried."""

    id: str
    severity: Severity
    title: str
    evidence: str
    explanation: str  #: two sentences
    remedy: str
    layer: str = ""  #: the guilty operator, such as 'CONV_2D 3'
    tensor: str = ""  #: the guilty tensor's name
    explained_db: float | None = None  #: PSNR that this costs
    cost_ms: float | None = None  #: runtime that this costs
    tried: tuple[Tried, ...] = ()
    explains: tuple[str, ...] = ()  #: ids of findings that are but symptoms of this one, and so are left out


class Failure(Record, frozen=True):
    """Why an evaluation stopped: the stage, how it ended, and the reason for a person."""

    stage: str
    kind: str
    reason: str
    output_shape: tuple[int, ...] = ()  #: where the network's output has another shape than it should
    not_finite: bool = False  #: the network's output has NaN or infinite values


class Evaluation(Record, frozen=True):
    """Everything known of one submission; a stage that did not run is ``None``."""

    name: str
    title: str
    kind: str
    authors: tuple[str, ...] = ()
    description: str = ""
    fingerprint: str = ""
    training: WeightsCard | None = None  #: if it brought one, and that is of the very weights that it brought
    export: ExportReport | None = None
    calibrate: CalibrateReport | None = None
    quantise: QuantiseReport | None = None
    check: CheckReport | None = None
    score: ScoreReport | None = None
    runtime: tuple[BackendReport, ...] = ()  #: the first ranks
    challenge: ChallengeScore | None = None
    gains: tuple[Gain, ...] = ()
    examine: ExamineReport | None = None
    appraise: AppraiseReport | None = None
    gallery: GalleryReport | None = None
    findings: tuple[Finding, ...] = ()
    failure: Failure | None = None
    summary: dict[str, float | None] = {}  #: derived: mean scores by ``metrics.FIGURES``, and ``latency_ms``

    @property
    def headline(self) -> LatencyReport | None:
        """The INT8 latency that ranks."""
        return self.latency("int8")

    def latency(self, precision: Precision, backend: str | None = None) -> LatencyReport | None:
        """The first report of that precision that has a figure, by that backend or else by the one that ranks."""
        chosen = [each for each in self.runtime if backend in (None, each.backend)][:1]
        reports = (report for each in chosen for report in each.reports if report.precision == precision)
        return next((report for report in reports if report.samples_ms or report.estimate_ms is not None), None)


class Circumstances(Record, frozen=True, kw_only=True):
    """What made a file of results, on what, when, and of which images."""

    schema_version: int
    checksum: str = ""  #: in a file, SHA-256 of its other bytes; see ``storage.sealed``
    harness_version: str
    created: str  #: ISO 8601, UTC
    machine: str
    versions: dict[str, str]
    dataset: str


class Results(Circumstances, frozen=True, kw_only=True):
    """``results.json``: one evaluation per entry of ``submissions/``, failed ones included."""

    formula: str  #: of ``challenge.FORMULAS``, by which the board ranks
    submissions: tuple[Evaluation, ...]
