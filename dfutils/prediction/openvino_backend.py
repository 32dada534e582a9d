"""OpenVINO, imported without its telemetry: every other module imports ``ov`` and ``ops`` from here.

By default OpenVINO reports each import and each conversion to Google Analytics, and NNCF each quantisation, unless the
user has opted out (https://docs.openvino.ai/2025/about-openvino/additional-resources/telemetry.html). Both do without
where the package that sends the reports is missing, and for them it is.
"""

from __future__ import annotations

import sys

__all__ = ["ops", "ov"]

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # as documented for sys.modules

import openvino as ov  # noqa: E402 - only now
from openvino import opset13 as ops  # noqa: E402
