"""Checks that need a CUDA GPU; what they measured goes into a JSON report.

They need no ROS: `python -m pytest -m gpu test/gpu`, or `make gpu-check`.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers

_REPORT = Path(os.environ.get("LISA_ROS_GPU_REPORT", "benchmarks/results/gpu-check.json"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Without pytest-timeout, which a bare GPU machine lacks, its line in pyproject.toml stays."""
    if find_spec("pytest_timeout") is None:
        parser.addini("timeout", "of pytest-timeout")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.fixture(scope="module")
def exact_float32() -> Iterator[None]:
    """TF32 rounds float32 products to 10 bits, which is no parity."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """record(name, value) puts a figure of this test into the report.

    It is written at once, so that checks may be run in several steps, or be cut short.
    """

    def put(name: str, value: object) -> None:
        hardware = {
            "gpu": torch.cuda.get_device_name(),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "bitsandbytes": version("bitsandbytes") if find_spec("bitsandbytes") else None,
            },
        }
        report = json.loads(_REPORT.read_text()) if _REPORT.is_file() else {}
        if {key: report.get(key) for key in hardware} != hardware:
            report = {**hardware, "figures": {}}  # the old figures are another machine's
        report["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        report["figures"][f"{request.node.name}: {name}"] = value
        _REPORT.parent.mkdir(parents=True, exist_ok=True)
        _REPORT.write_text(json.dumps(report, indent=2) + "\n")

    return put
