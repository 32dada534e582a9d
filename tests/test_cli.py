"""The command line: options, exit codes, one line of reason, JSON alone on stdout."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from dfutils.cli import COMMANDS, build_parser, main
from dfutils.commands.train import draw_history
from dfutils.errors import RunError
from dfutils.files import read_json
from dfutils.runs.calibration import recalibrate
from dfutils.settings import TrainingSettings


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dfutils", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def options_of(*command):
    """Return the options of a command."""
    parser = build_parser()
    for name in command:
        (choices,) = (action.choices for action in parser._actions if action.dest in ("command", "kind"))
        parser = choices[name]
        if hasattr(parser, "complete"):
            parser.complete()
    return {action.option_strings[-1] for action in parser._actions if action.option_strings}


def help_of(command, capsys):
    with pytest.raises(SystemExit) as exited:
        main([*command, "--help"])
    assert exited.value.code == 0
    return capsys.readouterr().out


KINDS = ("dataset", "package", "notebooks", "model", "space")


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), *(["publish", kind] for kind in KINDS)], ids=" ".join
)
def test_every_command_has_help_with_a_valid_example(command, capsys):
    text = help_of(command, capsys)
    assert f"example:\n  dfutils {' '.join(command)}" in text
    example = text[text.index("example:") :].splitlines()[1].split()
    assert build_parser().parse_args(example[1:]).command == command[0]


def test_the_help_lists_every_command(capsys):
    text = help_of([], capsys)
    assert all(re.search(rf"^    {name}\b", text, re.MULTILINE) for name in COMMANDS)


def test_training_has_at_most_15_options():
    assert len(options_of("train")) <= 15


def test_each_kind_of_publication_has_only_its_own_options():
    own = {
        "dataset": {"--fetch"},
        "package": {"--with-wheels"},
        "notebooks": set(),
        "model": {"--to"},
        "space": {"--no-check"},
    }
    for kind, options in own.items():
        others = set().union(*own.values()) - options
        assert options <= options_of("publish", kind)
        assert not others & options_of("publish", kind)
    assert not {"--slug", "--title", "--licence"} & options_of("publish", "notebooks")
    assert "--push" not in options_of("publish", "space")


def test_json_may_stand_before_or_after_the_name_of_a_sub_command():
    for arguments in (["publish", "--json", "package"], ["publish", "package", "--json"]):
        assert build_parser().parse_args(arguments).json
    assert not build_parser().parse_args(["publish", "package"]).json


def test_options_override_the_settings_file_and_the_file_the_defaults(demo_faces, tmp_path):
    file = tmp_path / "settings.json"
    values = {"model": "inception_mean", "epochs": 2, "backbone_weights": "random", "finetune": {"patch": 64}}
    file.write_text(json.dumps(values))
    run_folder = tmp_path / "run"
    assert main(["train", str(demo_faces), "--out", str(run_folder), "--settings", str(file), "--epochs", "1"]) == 0
    saved = TrainingSettings.read(run_folder / "settings.json")
    assert (saved.model, saved.epochs, saved.finetune.patch) == ("inception_mean", 1, 64)
    assert saved.learning_rate == TrainingSettings().learning_rate
    again = ["train", str(demo_faces), "--out", str(run_folder), "--settings", str(run_folder / "settings.json")]
    assert main(again) == 0, "the file that a run wrote makes the same run"


def test_the_settings_of_a_face_dataset_can_be_reused(demo_faces, demo_labels, tmp_path):
    options = ["--labels", str(demo_labels), "--settings", str(demo_faces / "extraction.json"), "--frames", "2"]
    assert main(["extract", str(demo_labels.parent), "--out", str(tmp_path / "faces"), *options]) == 0
    settings = read_json(tmp_path / "faces" / "extraction.json")["settings"]
    assert (settings["size"], settings["frames"]) == (96, 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"epohcs": 2}', "settings.json: epohcs: no such setting (2). Did you mean epochs?"),
        ('{"self_blend": 1}', "settings.json: self_blend: no such setting (1). Did you mean finetune.self_blended?"),
        (
            '{"finetune": {"patches": 64}}',
            "finetune.patches: no such setting (64). Did you mean finetune.patch?",
        ),
        ('{"colour": "red"}', "settings.json: colour: no such setting ('red'). Correct or remove it."),
        ('{"model": "resnet"}', "or 'inception_mean'. Received: 'resnet'."),
        ('{"epochs": 0}', "settings.json: epochs: "),
        ("epochs = 2", "settings.json: is not valid JSON"),
        (None, "settings.json: cannot be read (No such file or directory). Name a JSON file with settings, such as"),
        ("[1]", "settings.json: settings: Input should be a valid dictionary"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(demo_faces, tmp_path, capsys, content, reason):
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_text(content)
    assert main(["train", str(demo_faces), "--out", str(tmp_path / "run"), "--settings", str(file)]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_seed_option_seeds_the_split_too(demo_faces, tmp_path):
    quick = ["--model", "inception_mean", "--backbone-weights", "random", "--epochs", "1", "--seed", "3"]
    assert main(["train", str(demo_faces), "--out", str(tmp_path), *quick]) == 0
    settings = TrainingSettings.read(tmp_path / "settings.json")
    assert (settings.seed, settings.split.seed) == (3, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["extrakt"],
        ["extract"],
        ["extract", "a", "--out", "b", "--sampling", "best"],
        ["train", "faces", "--out", "run", "--epochs", "many"],
        ["train", "faces", "--out", "run", "--mode", "best"],
        ["train", "faces", "--out", "run", "--model", "resnet"],
        ["train", "faces", "--out", "run", "--folds", "1"],
        ["stress", "run", "--out", "report"],
        ["publish", "film", "a"],
        ["compare", "run", "--faces", "faces", "--out", "report"],
        ["extract", "a", "--out", "b", "--frames", "0"],
        ["extract", "a", "--out", "b", "--shard", "3/2"],
        ["predict", "a.mp4", "--out", "b", "--shard", "3/2"],
        ["predict", "a.mp4", "--prior", "1"],
        ["calibrate", "run", "--max-fpr", "1"],
        ["calibrate", "run", "--max-fnr", "nan"],
        ["calibrate", "run", "--operating-point", "luck"],
        ["calibrate", "run", "--min-face-pixels", "-1"],
        ["stress", "run", "videos", "--out", "report", "--kinds", "rain"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_with_2(arguments):
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["extract", "{tmp}/nowhere", "--out", "{tmp}/faces"], "nowhere"),
        (["extract", "{tmp}", "--out", "{tmp}/faces"], "no videos"),
        (["train", "{tmp}", "--out", "{tmp}/run"], "manifest.csv"),
        (["evaluate", "{tmp}", "{tmp}/faces", "--out", "{tmp}/report"], "run folder"),
        (["predict", "a.mp4", "--model", "{tmp}"], "run folder"),
        (["compare", "{tmp}", "{tmp}", "--faces", "{tmp}", "--out", "{tmp}/report"], "two or more different runs"),
        (["calibrate", "{tmp}"], "run folder"),
    ],
)
def test_a_failure_exits_with_1_and_one_line_of_reason(tmp_path, arguments, reason):
    done = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("dfutils ")
    assert reason in line


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("calibrate run --max-fpr 1", "argument --max-fpr: must be a number above 0 and below 1, such as 0.05, not 1"),
        ("calibrate run --min-face-pixels -1", "argument --min-face-pixels: must be 0 or more, not -1"),
        ("calibrate run --min-face-pixels some", "argument --min-face-pixels: must be an integer, not 'some'"),
        ("predict a.mp4 --prior 50%", "argument --prior: must be a number above 0 and below 1, such as 0.05, not 50%"),
        ("predict a.mp4 --prior nan", "argument --prior: must be a number above 0 and below 1, such as 0.05, not nan"),
        ("predict a.mp4 --out b --shard 3/2", "argument --shard: '3/2' is not a shard. Write i/n, such as 1/4"),
        ("extract a --out b --frames 0", "error: options: frames: Input should be greater than or equal to 1"),
        ("stress run videos --out report --kinds rain", "error: --kinds: 'rain' is unknown. Choose from: jpeg, h264"),
    ],
)
def test_an_impossible_value_of_an_option_is_wrong_use_and_says_what_is_possible(words, reason, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert reason in capsys.readouterr().err


def test_an_unknown_rule_is_named_with_the_known_ones(tmp_path, capsys):
    with pytest.raises(RunError, match="operating point 'luck': there is no such rule. Give balanced_accuracy, fpr_N"):
        recalibrate(tmp_path, rule="luck")
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", str(tmp_path), "--operating-point", "luck"])
    said = capsys.readouterr().err
    assert "error: --operating-point: there is no rule 'luck'. Give balanced_accuracy, fpr_N such as fpr_1" in said
    assert not any(tmp_path.iterdir())


def test_the_help_says_that_the_operating_point_does_not_change_the_answers(capsys):
    text = " ".join(help_of(["calibrate"], capsys).split())
    assert (
        "--operating-point RULE threshold of the two-class metrics in reports; it does not change the answers" in text
    )
    assert "options that are omitted return to their defaults" in text


@pytest.fixture
def inputs(demo_run, demo_faces, demo_labels, tmp_path):
    """Folders and files that commands read, by name."""
    verdicts = tmp_path / "verdicts"
    verdicts.mkdir()
    (verdicts / "job.json").write_text("{}")
    known = {"run": demo_run, "faces": demo_faces, "videos": demo_labels.parent, "labels": demo_labels}
    return {**known, "verdicts": verdicts}


OTHER_CONTENT = {
    "run.json": "a run",
    "settings.json": "a run",
    "detector.json": "a detector",
    "manifest.csv": "a face dataset",
    "job.json": "verdicts",
    "metrics.json": "a report",
}


@pytest.mark.parametrize(
    ("words", "own"),
    [
        ("evaluate {run} {faces}", "metrics.json"),
        ("evaluate {run} {videos} --labels {labels}", "metrics.json"),
        ("evaluate --verdicts {verdicts} --labels {labels}", "metrics.json"),
        ("compare {run} inception-cross-3 --faces {faces}", "metrics.json"),
        ("stress {run} {videos} --labels {labels}", "metrics.json"),
        ("demo", None),
        ("extract {videos} --labels {labels}", "manifest.csv"),
        ("merge {faces}", "manifest.csv"),
        ("merge {verdicts}", "job.json"),
        ("predict {videos} --model {run}", "job.json"),
        ("train {faces}", "run.json"),
        ("train {faces} --folds 2", "run.json"),
        ("train {faces} --folds 2 --fold 1", "run.json"),
    ],
    ids=lambda value: value.partition(" {")[0] if value else "",
)
def test_a_folder_that_holds_something_of_another_kind_is_refused_and_left_as_it_is(
    words, own, inputs, tmp_path, capsys
):
    command = words.format(**inputs).split()
    for name, what in OTHER_CONTENT.items():
        if what == OTHER_CONTENT.get(own):
            continue
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("{}")
        assert main([*command, "--out", str(folder)]) == 1
        said = f"dfutils {command[0]}: {folder}: holds {what} ({name}). Choose another --out."
        assert capsys.readouterr().err.splitlines()[-1] == said
        assert [path.name for path in folder.iterdir()] == [name]


def test_a_report_may_replace_an_earlier_report(demo_run, demo_faces, tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    assert main(["evaluate", str(demo_run), str(demo_faces), "--split", "all", "--out", str(tmp_path)]) == 0
    assert read_json(tmp_path / "metrics.json")["videos"] == 12


def test_a_report_does_not_replace_the_predictions_of_its_run(demo_run, demo_faces, capsys):
    before = (demo_run / "predictions.csv").read_bytes()
    assert main(["evaluate", str(demo_run), str(demo_faces), "--out", str(demo_run)]) == 1
    assert f"{demo_run}: holds a run (run.json). Choose another --out." in capsys.readouterr().err
    assert (demo_run / "predictions.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("library", "words", "what", "extra"),
    [
        ("gradio", ["app"], "the web page", "app"),
        ("pandas", ["evaluate", "run", "faces", "--out", "report"], "the report", "report"),
        ("pandas", ["stress", "run", "videos", "--out", "report"], "the stress test", "report"),
        ("pandas", ["compare", "one", "two", "--faces", "faces", "--out", "report"], "the report", "report"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_names_the_library_that_it_lacks_and_how_to_install_it(library, words, what, extra):
    program = f"import sys; sys.modules[{library!r}] = None; from dfutils.cli import main; sys.exit(main({words}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    advice = f"In the folder of dfutils, run: pip install '.[{extra}]'."
    assert done.stderr.endswith(f"{library}: is not installed, but {what} needs it. {advice}\n")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        (
            "import dfutils.cli; dfutils.cli.build_parser().format_help()",
            ("tensorflow", "keras", "cv2", "av", "numpy", "pydantic"),
        ),
        (
            "import dfutils.extraction.extract, dfutils.prediction.detector",
            ("tensorflow", "keras", "pandas", "matplotlib"),
        ),
    ],
    ids=["help", "extraction and prediction"],
)
def test_heavy_libraries_are_imported_only_where_they_are_used(code, heavy):
    code += f"\nimport sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_skips_the_history_figure_without_matplotlib(demo_run, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "dfutils.figures.history", None)  # as if matplotlib were not installed
    caplog.set_level("INFO")
    draw_history(demo_run)
    assert "'.[report]'" in caplog.text
    assert not (demo_run / "history.png").exists()


def test_json_stands_alone_on_stdout(demo_run, demo_videos, tmp_path):
    done = run("predict", demo_videos[0], tmp_path / "missing.mp4", "--model", demo_run, "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert [verdict["reason"] for verdict in document["verdicts"]] == ["ok", "unreadable"]


def test_verdicts_are_printed_for_people(demo_run, demo_videos):
    done = run("predict", demo_videos[0], "--model", demo_run)
    assert done.returncode == 0
    label, score, path = done.stdout.split()[:3]
    assert label in ("REAL", "FAKE")
    assert 0 <= float(score) <= 1
    assert path == str(demo_videos[0])


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_a_stdout_that_cannot_be_written_is_one_line(redirection):
    command = f"{sys.executable} -m dfutils models {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"dfutils models: stdout(: is closed| cannot be written \(No space).*\n", done.stderr)


def test_a_folder_in_place_of_a_table_is_refused_before_any_work(demo_videos, tmp_path):
    done = run("predict", demo_videos[0], "--csv", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"dfutils predict: {tmp_path}: is a folder. Give a file name."
    assert done.stdout == ""


def test_an_empty_argument_is_wrong_use(capsys):
    for arguments in (["predict", ""], ["extract", "videos", "--out", ""]):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        assert exited.value.code == 2
        assert "an argument is empty" in capsys.readouterr().err


def test_a_user_without_a_home_folder_gets_verdicts(demo_videos):
    as_nobody = ["unshare", "--map-user=12345"]
    if subprocess.run([*as_nobody, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system maps no users")
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "DFUTILS_CACHE")}
    command = [*as_nobody, sys.executable, "-m", "dfutils", "predict", str(demo_videos[0])]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"(REAL|FAKE|UNDECIDED) +0\.\d\d ", done.stdout)


def test_sigterm_leaves_no_half_written_file(demo_videos, tmp_path):
    table = tmp_path / "verdicts.csv"
    command = [sys.executable, "-m", "dfutils", "predict", *map(str, demo_videos * 20), "--csv", str(table)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline()  # a verdict was given, so that the table has been begun
        assert list(tmp_path.iterdir())
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_machine_is_no_verdict_on_a_video(demo_videos, tmp_path):
    """A broken installation of the decoder."""
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text("raise ImportError('libavcodec.so: cannot open shared object file')")
    command = [sys.executable, "-m", "dfutils", "predict", str(demo_videos[0])]
    broken = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run(command, env=broken, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "dfutils predict: the decoder process does not start "
        "(ImportError: libavcodec.so: cannot open shared object file). Install the package again."
    )
