"""The diagnosis names every planted fault first, and finds no error in healthy networks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS, HEALTHY, Made

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FRAME = (96, 120)  # height and width of LR


def diagnosed(made: Made, out: Path) -> list[dict[str, Any]]:
    """Findings on a submission, gravest first."""
    command = [sys.executable, "-m", "mai_harness", "diagnose", str(made.path), "--json", "--out", str(out)]
    if made.twin is not None:
        command += ["--float", str(made.twin)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.startswith("{"), done.stderr
    answer = json.loads(done.stdout)
    findings: list[dict[str, Any]] = answer["findings"]
    severities = {each["severity"] for each in findings}
    failed = answer["evaluation"]["failure"] is not None or "error" in severities
    assert done.returncode == (1 if failed else 3 if "warning" in severities else 0)
    return findings


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One for all, so that data are prepared once."""
    return tmp_path_factory.mktemp("out")


def told(findings: list[dict[str, Any]]) -> str:
    return "; ".join(f"{each['severity']} {each['id']} {each['layer']}: {each['evidence']}" for each in findings)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_first(name, tmp_path, out):
    fault, folder = FAULTS[name], tmp_path / "submission"
    folder.mkdir()
    findings = diagnosed(fault.make(folder, FRAME), out)
    assert [each["id"] for each in findings[:1]] == [fault.id], told(findings)
    assert findings[0]["layer"].startswith(fault.layer), told(findings)


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_network_has_no_error(name, tmp_path, out):
    folder = tmp_path / "submission"
    folder.mkdir()
    findings = diagnosed(HEALTHY[name](folder, FRAME), out)
    assert not [each for each in findings if each["severity"] == "error"], told(findings)
