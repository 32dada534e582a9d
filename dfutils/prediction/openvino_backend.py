"""OpenVINO, imported without its telemetry: every other module imports it from here.

By default OpenVINO reports each import and each conversion to Google Analytics, and NNCF each quantisation, unless the
user has opted out (https://docs.openvino.ai/2025/about-openvino/additional-resources/telemetry.html). Both skip the
reports if ``openvino_telemetry`` cannot be imported, so it is blocked here. A program that has imported OpenVINO before
dfutils keeps its own choice.
"""

from __future__ import annotations

import sys

__all__ = ["op", "ops", "ov"]

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # as documented for sys.modules

import openvino as ov  # noqa: E402, TID251 - after the line above
from openvino import op  # noqa: E402, TID251
from openvino import opset13 as ops  # noqa: E402, TID251
