"""The command line: options, exit codes, one line of reason, JSON alone on stdout."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dfutils.cli import COMMANDS, build_parser, main
from dfutils.commands.train import draw_history
from dfutils.errors import RunError
from dfutils.files import read_csv, read_json
from dfutils.runs.calibration import recalibrate
from dfutils.runs.record import DetectorRecord
from dfutils.settings import TrainingSettings


def run(*command, **options):
    """Run a program to its end, where only a process of its own shows what is tested."""
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)


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


@pytest.fixture
def trainings(demo_run, monkeypatch):
    """The settings of every training that is asked for, each of which ends at once with the run of the demo."""
    asked = []

    def train(faces, run, *, settings, splits_file):
        asked.append(settings)
        shutil.copytree(demo_run, run, ignore=shutil.ignore_patterns("history.png"))
        return DetectorRecord.read(run / "detector.json")

    monkeypatch.setitem(sys.modules, "dfutils.training.run", SimpleNamespace(train=train))
    return asked


def test_options_override_the_settings_file_and_the_file_the_defaults(trainings, tmp_path, capsys):
    file = tmp_path / "settings.json"
    values = {"model": "inception_mean", "epochs": 2, "backbone_weights": "random", "finetune": {"patch": 64}}
    file.write_text(json.dumps(values))
    command = ["train", "faces", "--out", str(tmp_path / "run"), "--settings", str(file)]
    assert main([*command, "--epochs", "1", "--seed", "3"]) == 0
    (settings,) = trainings
    assert (settings.model, settings.epochs, settings.finetune.patch) == ("inception_mean", 1, 64)
    assert settings.learning_rate == TrainingSettings().learning_rate
    assert (settings.seed, settings.split.seed) == (3, 3)
    assert f"run folder {tmp_path / 'run'}\nREAL up to " in capsys.readouterr().out
    assert (tmp_path / "run" / "history.png").is_file()


def test_the_file_that_a_run_wrote_makes_the_same_run(trainings, demo_run, tmp_path):
    main(["train", "faces", "--out", str(tmp_path / "run"), "--settings", str(demo_run / "settings.json")])
    assert trainings == [TrainingSettings.read(demo_run / "settings.json")]


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


MISSING = "the following arguments are required"
SHARE = "must be a number above 0 and below 1, such as 0.05"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", MISSING),
        ("extrakt", "invalid choice: 'extrakt'"),
        ("extract", MISSING),
        ("extract a --out b --sampling best", "argument --sampling: invalid choice: 'best'"),
        ("extract a --out b --frames 0", "error: options: frames: Input should be greater than or equal to 1"),
        ("train faces --out run --epochs many", "argument --epochs: invalid int value: 'many'"),
        ("train faces --out run --folds 1", "error: --folds: needs at least 2"),
        ("calibrate run --max-fpr 1", f"argument --max-fpr: {SHARE}, not 1"),
        ("calibrate run --max-fnr nan", f"argument --max-fnr: {SHARE}, not nan"),
        ("calibrate run --min-face-pixels -1", "argument --min-face-pixels: must be 0 or more, not -1"),
        ("calibrate run --min-face-pixels some", "argument --min-face-pixels: must be an integer, not 'some'"),
        ("predict a.mp4 --prior 50%", f"argument --prior: {SHARE}, not 50%"),
        ("predict a.mp4 --out b --shard 3/2", "argument --shard: '3/2' is not a shard. Write i/n, such as 1/4"),
        ("predict a.mp4 --workers 0", "argument --workers: must be 1 or more, not 0"),
        ("predict a.mp4 --json --json-lines", "--json-lines one per verdict: omit one"),
        ("stress run videos --out report --kinds rain", "error: --kinds: 'rain' is unknown. Choose from: jpeg, h264"),
        ("publish film a", "invalid choice: 'film'"),
        ("compare run --faces faces --out report", "error: RUN: give two or more"),
    ],
    ids=lambda value: value,
)
def test_wrong_use_exits_with_2_and_says_what_is_possible(words, reason, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert reason in capsys.readouterr().err


def test_an_empty_argument_is_wrong_use(capsys):
    for arguments in (["predict", ""], ["extract", "videos", "--out", ""]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "an argument is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("extract {tmp}/nowhere --out {tmp}/faces", "nowhere"),
        ("extract {tmp} --out {tmp}/faces", "no videos"),
        ("train {tmp} --out {tmp}/run", "manifest.csv"),
        ("evaluate {tmp} {tmp}/faces --out {tmp}/report", "run folder"),
        ("predict a.mp4 --model {tmp}", "run folder"),
        ("predict a.mp4 --csv {tmp}", "is a folder. Give a file name."),
        ("compare {tmp} {tmp} --faces {tmp} --out {tmp}/report", "two or more different runs"),
        ("calibrate {tmp}", "run folder"),
    ],
)
def test_a_failure_exits_with_1_and_one_line_of_reason(tmp_path, capsys, words, reason):
    arguments = words.format(tmp=tmp_path).split()
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"dfutils {arguments[0]}: ")
    assert reason in line


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
    ("words", "others"),
    [
        ("evaluate {run} {faces}", ["run.json"]),
        ("evaluate {run} {videos} --labels {labels}", ["manifest.csv"]),
        ("evaluate --verdicts {verdicts} --labels {labels}", ["job.json"]),
        ("compare {run} inception-cross-3 --faces {faces}", ["run.json"]),
        ("stress {run} {videos} --labels {labels}", ["settings.json"]),
        ("demo", OTHER_CONTENT),
        ("extract {videos} --labels {labels}", ["metrics.json"]),
        ("merge {faces}", ["job.json"]),
        ("merge {verdicts}", ["manifest.csv"]),
        ("predict {videos} --model {run}", ["metrics.json"]),
        ("train {faces}", ["detector.json"]),
        ("train {faces} --folds 2", ["detector.json"]),
        ("train {faces} --folds 2 --fold 1", ["detector.json"]),
    ],
    ids=lambda value: value.partition(" {")[0] if isinstance(value, str) else "",
)
def test_a_folder_that_holds_something_of_another_kind_is_refused_and_left_as_it_is(
    words, others, inputs, tmp_path, capsys
):
    command = words.format(**inputs).split()
    for name in others:
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("{}")
        assert main([*command, "--out", str(folder)]) == 1
        said = f"dfutils {command[0]}: {folder}: holds {OTHER_CONTENT[name]} ({name}). Choose another --out."
        assert capsys.readouterr().err.splitlines()[-1] == said
        assert [path.name for path in folder.iterdir()] == [name]


LACKING = [
    ("pandas", "evaluate run faces --out report", "the report", "report"),
    ("pandas", "stress run videos --out report", "the stress test", "report"),
    ("pandas", "compare one two --faces faces --out report", "the report", "report"),
    ("gradio", "app", "the web page", "app"),
    ("prometheus_client", "serve", "the HTTP API", "serve"),
    ("fastapi", "serve", "the HTTP API", "serve"),
]


def test_a_command_names_the_library_that_it_lacks_and_how_to_install_it(tmp_path):
    program = "import sys\nfrom dfutils.cli import main\n"
    for library, words, *_ in LACKING:
        program += f"sys.modules[{library!r}] = None\nassert main({words.split()}) == 1\n"
    done = run(sys.executable, "-c", program, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.stderr.splitlines() == [
        f"dfutils {words.split()[0]}: {library}: is not installed, but {what} needs it. "
        f"In the folder of dfutils, run: pip install '.[{extra}]'."
        for library, words, what, extra in LACKING
    ]
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []  # no server left its folder of uploads


def test_heavy_libraries_are_imported_only_where_they_are_used():
    program = """if True:
        import sys
        import dfutils.cli
        dfutils.cli.build_parser().format_help()
        print([name for name in ("tensorflow", "keras", "cv2", "av", "numpy", "pydantic") if name in sys.modules])
        import dfutils.extraction.extract, dfutils.prediction.detector
        print([name for name in ("tensorflow", "keras", "pandas", "matplotlib") if name in sys.modules])
    """
    assert run(sys.executable, "-c", program).stdout.split() == ["[]", "[]"]


def test_training_skips_the_history_figure_without_matplotlib(demo_run, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "dfutils.figures.history", None)  # as if matplotlib were not installed
    caplog.set_level("INFO")
    draw_history(demo_run)
    assert "'.[report]'" in caplog.text
    assert not (demo_run / "history.png").exists()


@pytest.fixture
def odd_name(demo_videos, tmp_path):
    """A clip whose name is not valid Unicode, alone in its folder."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    path = folder / os.fsdecode(b"b\xe9.mp4")
    path.symlink_to(demo_videos[0])
    return path


def test_json_stands_alone_on_stdout_and_escapes_odd_names(demo_run, odd_name, tmp_path):
    table = tmp_path / "table.csv"
    options = ["--model", demo_run, "--json", "--csv", table]
    done = run(sys.executable, "-m", "dfutils", "predict", odd_name.parent, tmp_path / "missing.mp4", *options)
    assert done.returncode == 0
    verdicts = json.loads(done.stdout)["verdicts"]
    assert [verdict["reason"] for verdict in verdicts] == ["ok", "unreadable"]
    assert os.fsencode(verdicts[0]["input"]) == os.fsencode(odd_name)
    assert read_csv(table, ("input",))[0]["input"].endswith("/b\\udce9.mp4")


def test_verdicts_are_printed_for_people_and_odd_names_escaped(demo_run, odd_name, capsys):
    assert main(["predict", str(odd_name), "--model", str(demo_run)]) == 0
    label, score, path = capsys.readouterr().out.split()
    assert label in ("REAL", "FAKE")
    assert 0 <= float(score) <= 1
    assert path == f"{odd_name.parent}/b\\udce9.mp4"


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_a_stdout_that_cannot_be_written_is_one_line(redirection):
    done = run("bash", "-c", f"{sys.executable} -m dfutils models {redirection}")
    assert done.returncode == 1
    assert re.fullmatch(r"dfutils models: stdout(: is closed| cannot be written \(No space).*\n", done.stderr)


def test_a_user_without_a_home_folder_gets_verdicts(demo_videos):
    as_nobody = ["unshare", "--map-user=12345"]
    if run(*as_nobody, "true").returncode:
        pytest.skip("this system maps no users")
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "DFUTILS_CACHE")}
    done = run(*as_nobody, sys.executable, "-m", "dfutils", "predict", demo_videos[0], env=kept)
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
    broken = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = run(sys.executable, "-m", "dfutils", "predict", demo_videos[0], env=broken)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "dfutils predict: the decoder process does not start "
        "(ImportError: libavcodec.so: cannot open shared object file). Install the package again."
    )
