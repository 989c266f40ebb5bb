"""The architecture, enforced: imports point down, stages do not know one another, only the command line prints."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mai_harness

PACKAGE = Path(mai_harness.__file__).parent
# From the top to the ground; a module imports only modules of layers below its own.
LAYERS = (
    {"__main__"},
    {"metanodes", "bench_harness", "serve", "verify"},
    {"pipeline", "doctor", "scaffold", "download", "site"},
    # the stages
    {
        "decode",
        "train",
        "bench_loader",
        "prepare",
        "export",
        "calibrate",
        "qat",
        "quantise",
        "check",
        "examine",
        "upscale",
        "score",
        "gallery",
        "benchmark",
        "appraise",
        "yardstick",
        "compare",
        "bare_score",
        "build_nodes",
        "time_files",
        "decompose",
        "diagnose",
        "render",
    },
    {"fit", "load", "backends", "latency_study", "published_networks", "residual_forms", "study", "history", "undo"},
    {
        "optimiser",
        "patches",
        "interpreter",
        "simulate",
        "meta_nodes",
        "networks",
        "published_networks",
        "rewrites",
        "fake_quant",
        "tflite_rewrites",
    },
    {"challenge", "copies", "datasets", "metrics", "discover", "isolate", "tflite_graph"},
    {"sandbox", "storage"},
    {"timing"},
    {"samples"},
    {"resize", "machine"},
    {"records", "errors"},
)
PRINTING = {"__main__", "decode", "qat", "train"}  # stages tell their parent, which alone speaks to people
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(module: str) -> int:
    return next(index for index, members in enumerate(LAYERS) if module in members)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mai_harness":
            found |= {alias.name for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mai_harness."):
            found.add((node.module or "").split(".")[1])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = module_of(path)
    for other in imported(path) - {own}:
        assert layer(other) > layer(own), f"{own} imports {other}, which is not below it"


def test_every_module_has_a_layer():
    assert {module_of(path) for path in MODULES} == set().union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints_or_exits(path):
    if module_of(path) in PRINTING:
        return
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert not names & {"print", "breakpoint", "exit"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


@pytest.mark.parametrize("module", ["mai_harness.__main__", "mai_harness.render", "mai_harness.storage"])
def test_light_modules_import_no_framework(module):
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "tensorflow", "onnx", "onnxruntime", "ai_edge_litert", "skimage"} & set(found)
