"""TensorFlow is imported in one place, and its output during the import reaches no user."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dfutils
from dfutils.training.backend import held_stderr

NOISE = "I0000 00:00:1700000000.000000 1 port.cc:153] oneDNN custom operations are on."


def python(*arguments, **environment):
    """Run Python without TensorFlow's environment variables."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, env=clean | environment
    )


def test_tensorflow_and_keras_are_imported_in_one_module():
    package = Path(dfutils.__file__).parent
    imported = re.compile(r"^\s*(?:import|from) (?:tensorflow|keras)\b", re.MULTILINE)
    modules = [path for path in package.rglob("*.py") if imported.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(package).as_posix() for path in modules] == ["training/backend.py"]


@pytest.fixture
def noisy_library(tmp_path):
    """Packages named tensorflow and keras: the first writes as C++ does, and fails if $BROKEN is set."""
    for name, code in {
        "keras": "import tensorflow",
        "tensorflow": (
            f"import os\ntry: os.write(2, b'{NOISE}\\n')\nexcept OSError: pass\n"
            "if 'BROKEN' in os.environ: raise ImportError('undefined symbol: cudaGetDevice')"
        ),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(dfutils.__file__).parents[1])])}


IMPORT = "import os; import dfutils.training.backend; os.write(2, b'afterwards')"


@pytest.mark.parametrize(("level", "said"), [(None, ""), ("2", ""), ("0", f"{NOISE}\n")])
def test_output_of_the_import_is_shown_only_at_log_level_0(noisy_library, level, said):
    chosen = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
    done = python("-c", IMPORT, **noisy_library, **chosen)
    assert (done.returncode, done.stderr) == (0, f"{said}afterwards")


def test_output_of_a_failed_import_is_shown(noisy_library):
    done = python("-c", IMPORT, **noisy_library, BROKEN="1")
    assert done.stderr.startswith(f"{NOISE}\nTraceback")
    assert done.stderr.endswith("ImportError: undefined symbol: cudaGetDevice\n")


def test_the_import_works_with_stderr_closed(noisy_library):
    done = python("-c", "import os; os.close(2); import dfutils.training.backend; print('imported')", **noisy_library)
    assert (done.returncode, done.stdout) == (0, "imported\n")


def test_held_output_is_logged_at_debug_level(capfd, caplog):
    with caplog.at_level(logging.DEBUG, "dfutils"), held_stderr():
        os.write(2, b"from C++\n")
    os.write(2, b"afterwards\n")
    assert caplog.messages == ["from C++"]
    assert capfd.readouterr().err == "afterwards\n"


def test_a_failure_restores_the_descriptor_and_shows_the_held_output(capfd):
    with pytest.raises(KeyboardInterrupt), held_stderr():
        os.write(2, b"from C++\n")
        raise KeyboardInterrupt
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "from C++\nafterwards\n"
