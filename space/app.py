"""Start the web page of dfutils on a Hugging Face Space.

A Space installs its requirements before it has any other file, so the wheel beside this file is unpacked here.
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = tempfile.mkdtemp(prefix="dfutils-package-")
(WHEEL,) = HERE.glob("dfutils-*.whl")
zipfile.ZipFile(WHEEL).extractall(PACKAGE)
sys.path.insert(0, PACKAGE)
os.environ.setdefault("DFUTILS_OFFLINE", "1")

from dfutils.app.server import serve  # noqa: E402 (the package exists only now)

if __name__ == "__main__":
    host = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0")
    serve(model=None, host=host, port=int(os.environ.get("PORT", "7860")))
