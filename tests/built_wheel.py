"""The package's wheel as pip builds it; only an unreachable package index is a reason to skip a test."""

from pathlib import Path

import pytest

from dfutils.errors import PublishError
from dfutils.publishing import package


def build_or_skip(project: Path, folder: Path) -> Path:
    """Build the wheel; skip the test where pip cannot get the build system, and fail where the build is broken."""
    try:
        return package.build_wheel(project, folder)
    except PublishError:
        if not package.index_is_reachable():
            pytest.skip("the package index cannot be reached, and pip gets the build system from there")
        raise
