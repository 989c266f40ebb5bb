"""Forms of ABPN: those of one function give the same pixels, and become the operators that their words tell."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mai_harness import rewrites, tflite_rewrites
from mai_harness.datasets import find_dataset
from mai_harness.load import build_network
from mai_harness.metanodes import _converted, _operators
from mai_harness.networks import ABPN
from mai_harness.pipeline import Settings, Workshop, prepare
from mai_harness.records import Form, Submission
from mai_harness.residual_forms import FORMS, as_factory, reference_of

BY_ID = {form.id: form for form in FORMS}
EVERY = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
SHIPPED = ("abrl-convolution", "clip-saturation", "shuffle-dcr")
#: They say that they compute what ABPN does; what they differ in is how.
SAME = ("abrl-concat", "abrl-nearest", "isrl-nearest", "clip-operator", "shuffle-crd")


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # a submission's folder is added to it


def network(form: Form) -> ABPN:
    """As a stage builds it, but with biases, and on the same weights as other forms."""
    submission = Submission(name=form.id, title=form.title, kind="torch", fingerprint="", **as_factory(form))
    built = build_network(submission, None)
    generator = torch.Generator().manual_seed(1)
    for tensor in built.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.1 if tensor.dim() > 1 else 0.05))
    return built


@torch.inference_mode()
def outputs(id_: str) -> tuple[Tensor, Tensor]:
    """With and without the clip."""
    image = torch.rand((1, 3, 10, 14), generator=torch.Generator().manual_seed(2)) * 255
    built = network(BY_ID[id_])
    return built(image), built.upscale(image)


# The table


def test_ids_are_unique_and_named_here():
    assert len(BY_ID) == len(FORMS)
    assert {*SHIPPED, *SAME} < set(BY_ID)


@EVERY
def test_each_is_held_against_a_form_of_its_group_which_is_abpn_as_it_ships(form):
    reference = reference_of(form)
    assert reference in FORMS
    assert reference.group == form.group
    assert reference.id in SHIPPED
    assert (reference.factory, reference.arguments, reference.without) == ("ABPN", {}, ())


@EVERY
def test_rewrites_that_are_left_out_exist(form):
    assert set(form.without) <= {row.id for row in (*rewrites.PASSES, *tflite_rewrites.PASSES)}


def test_no_two_forms_of_a_group_are_the_same():
    made = Counter((form.group, form.factory, str(form.arguments), form.without) for form in FORMS)
    assert set(made.values()) == {1}


# The functions


@EVERY
def test_every_form_builds_and_upscales(form):
    clipped, unclipped = outputs(form.id)
    assert clipped.shape == unclipped.shape == (1, 3, 30, 42)
    assert not network(form).training
    assert set(network(form).state_dict()) == set(ABPN().state_dict())


@pytest.mark.parametrize("id_", [*SHIPPED, *SAME])
def test_forms_of_one_function_give_the_same_pixels(id_):
    for found, expected in zip(outputs(id_), outputs("abrl-convolution"), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)  # grey levels


def test_the_pixels_tell_forms_apart():
    clipped, unclipped = outputs("abrl-convolution")
    assert ((unclipped < 0) | (unclipped > 255)).float().mean() > 0.05  # so that the clip is seen
    assert ((unclipped > 0) & (unclipped < 255)).float().mean() > 0.5
    for other in ("none", "fsrl", "isrl-bilinear", "clip-none"):
        assert (outputs(other)[0] - clipped).abs().max() > 1, other


def test_without_its_clip_it_is_the_same_up_to_the_clip():
    found, unclipped = outputs("clip-none")
    torch.testing.assert_close(found, unclipped, rtol=0, atol=0)
    torch.testing.assert_close(found.clamp(0, 255), outputs("clip-saturation")[0], rtol=0, atol=1e-3)


def test_the_convolution_behind_the_interpolation_is_no_weight():
    assert "blocks" not in network(BY_ID["abrl-nearest"]).state_dict()
    assert [p.shape for p in network(BY_ID["abrl-nearest"]).parameters()] == [p.shape for p in ABPN().parameters()]


# The operators


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Operators of a form's INT8 file, and stages that ran for it."""
    started: list[str] = []
    workshop = Workshop(Settings(out=tmp_path_factory.mktemp("out")), started.append)
    prepared = prepare(workshop, find_dataset(None))

    def convert(id_: str) -> tuple[Counter[str], list[str], str]:
        started.clear()
        form = BY_ID[id_]
        path = _converted(workshop, as_factory(form), form.without, prepared)
        return Counter(_operators(path)), [line.rpartition(": ")[2] for line in started], path

    return convert


PLAIN = Counter(QUANTIZE=2, CONV_2D=8, ADD=1, DEPTH_TO_SPACE=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("id_", "more", "less"),
    [
        ("abrl-convolution", Counter(), Counter()),
        ("abrl-concat", Counter(CONCATENATION=1), Counter(CONV_2D=1)),
        ("abrl-nearest", Counter(RESIZE_NEAREST_NEIGHBOR=1), Counter()),
        ("isrl-bilinear", Counter(RESIZE_BILINEAR=1), Counter(CONV_2D=1)),
        ("clip-operator", Counter(MINIMUM=1, RELU=1), Counter()),
    ],
)
def test_operators_are_as_the_words_tell(id_, more, less, converted):
    operators, started, _ = converted(id_)
    assert operators == PLAIN + more - less
    assert started in ([], ["export", "calibrate", "quantise"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchs_order_is_shuffled_by_a_transposition(converted):
    operators, _, _ = converted("shuffle-crd")
    assert operators["TRANSPOSE"] == 1
    assert "DEPTH_TO_SPACE" not in operators


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_network_of_several_groups_is_converted_once(converted):
    _, _, path = converted("abrl-convolution")
    for id_ in ("clip-saturation", "shuffle-dcr"):
        _, started, same = converted(id_)
        assert (started, same) == ([], path)
    assert Path(path).is_file()
