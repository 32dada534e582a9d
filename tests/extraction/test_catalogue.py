"""Every layout is read with its labels and groups; contradictions are refused, omissions counted."""

import errno
import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.errors import CatalogueError
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.layouts import join_groups


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"media")
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def groups_of(catalogue):
    return {video.name: video.group for video in catalogue.videos}


def labels_of(catalogue):
    return {video.name: video.is_fake for video in catalogue.videos}


def splits_of(catalogue):
    return {video.name: video.split for video in catalogue.videos}


def test_groups_are_joined_transitively_and_no_further():
    bridge_comes_last = [["d", "c"], ["b", "a"], ["f", "e"], ["c", "b"]]
    assert join_groups(bridge_comes_last) == {**dict.fromkeys("abcd", "a"), "e": "e", "f": "e"}
    assert join_groups(["fe", "ed", "dc", "cb", "ba"]) == dict.fromkeys("abcdef", "a")


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3)), st.randoms())
def test_joined_groups_do_not_depend_on_the_order_of_links(links, random):
    shuffled = [random.sample(link, len(link)) for link in random.sample(links, len(links))]
    groups = join_groups(links)
    assert join_groups(shuffled) == groups
    assert all(len({groups[name] for name in link}) == 1 for link in links)
    assert all(group == min(name for name in groups if groups[name] == group) for group in groups.values())


class TestFolders:
    def test_labels_are_the_names_of_the_folders_and_other_files_are_counted_with_examples(self, tmp_path):
        touch(tmp_path, "real/b.MP4", "Fake/deep/b.png", "real/.hidden.mp4", "__MACOSX/real/b.mp4", "Fake/._b.mp4")
        touch(tmp_path, "real/x.docx", "Fake/y.docx", "Fake/README")
        catalogue = read_catalogue(tmp_path)
        assert labels_of(catalogue) == {"Fake/deep/b.png": True, "real/b.MP4": False}
        assert [video.name for video in catalogue.videos] == ["Fake/deep/b.png", "real/b.MP4"]
        assert catalogue.videos[1].path == tmp_path / "real/b.MP4"
        assert catalogue.warnings == (
            f"3 other files in {tmp_path}: no video or image suffix, left out "
            "(2 .docx, 1 without a suffix; first: Fake/README)",
        )

    def test_whatever_can_be_read_is_found(self, tmp_path):
        suffixes = ("ts", "MTS", "m2ts", "3gp", "vob", "ogv", "asf", "mxf", "h264", "heic", "avif", "tiff")
        touch(tmp_path, "fake/b.mp4", *(f"real/{suffix}.{suffix}" for suffix in suffixes))
        assert len(read_catalogue(tmp_path).videos) == 1 + len(suffixes)

    def test_a_fake_named_like_a_real_shares_its_group(self, tmp_path):
        touch(tmp_path, "real/a.mp4", "fake/x/a.avi", "fake/b.mp4", "real/1/c.mp4", "real/2/c.mp4", "real/2/c.avi")
        assert groups_of(read_catalogue(tmp_path)) == {
            "real/a.mp4": "a",
            "fake/x/a.avi": "a",
            "fake/b.mp4": "b",
            "real/1/c.mp4": "1/c",
            "real/2/c.mp4": "2/c",
            "real/2/c.avi": "2/c",
        }

    @pytest.mark.parametrize(
        ("real", "fake", "others"),
        [
            ("real/alice_00.mp4", "fake/alice_00_swap.mp4", []),
            ("real/alice.mp4", "fake/alice-bob.mp4", ["real/bob.mp4"]),
            ("real/alice_00.mp4", "fake/alice_00_swap.mp4", ["real/alice.mp4", "real/alice_00_swa.mp4"]),
            ("real/youtube/a.mp4", "fake/one/a.mp4", ["fake/two/a.mp4"]),
            ("real/2/a.mp4", "fake/2/a_swap.mp4", ["real/1/a.mp4"]),
            ("real/a/00.png", "fake/a_swap/00.png", ["real/b/00.png", "fake/b_swap/00.png"]),
            ("test/real/a.mp4", "test/fake/a_swap.mp4", ["train/real/a.mp4", "train/fake/a.mp4"]),
        ],
        ids=["ending", "target and source", "longest", "several methods", "same folder", "frames", "splits"],
    )
    def test_a_fake_named_after_a_real_shares_its_group(self, tmp_path, real, fake, others):
        catalogue = read_catalogue(touch(tmp_path, real, fake, *others))
        groups = groups_of(catalogue)
        assert groups[fake] == groups[real]
        assert len(set(groups.values())) == len({groups[name] for name in groups if "real/" in name})
        assert catalogue.warnings == ()

    def test_fakes_named_after_no_real_are_counted_with_what_to_do(self, tmp_path):
        touch(tmp_path, "real/a.mp4", "fake/a_swap.mp4", "fake/b.mp4", "fake/ab.mp4", "real/1/c.mp4", "real/2/c.mp4")
        touch(tmp_path, "fake/c_swap.mp4")
        catalogue = read_catalogue(tmp_path)
        assert {groups_of(catalogue)[f"fake/{name}.mp4"] for name in ("b", "ab", "c_swap")} == {"b", "ab", "c_swap"}
        assert catalogue.warnings == (
            "3 FAKE files share no group with a REAL one (first: fake/ab.mp4): each counts as a person of its own, so "
            "that the same person may be in training and in test; if files show the same people, give them a group in "
            "a label file",
        )

    def test_frames_in_folders_of_their_own_are_grouped_by_folder(self, tmp_path):
        touch(tmp_path, "real/v1/00.png", "real/v1/01.png", "real/v2/00.png", "fake/v1/00.png", "fake/v9/00.png")
        touch(tmp_path, "real/v1/99.png", "real/00.png")
        assert groups_of(read_catalogue(tmp_path)) == {
            "real/v1/00.png": "v1",
            "real/v1/01.png": "v1",
            "real/v1/99.png": "v1",
            "real/v2/00.png": "v2",
            "fake/v1/00.png": "v1",
            "fake/v9/00.png": "v9",
            "real/00.png": "00",
        }

    def test_other_files_are_one_counted_line(self, tmp_path):
        touch(tmp_path, "real/b.mp4", "fake/b.mp4", "z.mp4", "other/c.mp4")
        assert read_catalogue(tmp_path).warnings == (
            f"2 files in {tmp_path} are below neither real/ nor fake/ and were left out (first: other/c.mp4)",
        )

    def test_folders_of_splits_are_read_with_their_splits(self, tmp_path):
        touch(tmp_path, "train/real/1.jpg", "Train/fake/1.jpg", "valid/real/1.jpg", "fake/test/1.jpg")
        catalogue = read_catalogue(tmp_path)
        assert splits_of(catalogue) == {
            "train/real/1.jpg": "train",
            "Train/fake/1.jpg": "train",
            "valid/real/1.jpg": "validation",
            "fake/test/1.jpg": "test",
        }
        assert labels_of(catalogue)["Train/fake/1.jpg"]
        assert groups_of(catalogue) == {  # pictures of different splits that are named alike are no pairs
            "train/real/1.jpg": "train/1",
            "Train/fake/1.jpg": "train/1",
            "valid/real/1.jpg": "validation/1",
            "fake/test/1.jpg": "test/1",
        }

    def test_splits_that_only_some_files_have_are_ignored_so_that_no_source_is_in_two(self, tmp_path):
        catalogue = read_catalogue(touch(tmp_path, "real/000.mp4", "fake/train/000.mp4"))
        assert set(splits_of(catalogue).values()) == {None}
        assert set(groups_of(catalogue).values()) == {"000"}
        assert catalogue.warnings == (
            "the folders of splits are ignored: 1 file in none of them (first: real/000.mp4)",
        )

    def test_a_single_label_is_a_warning(self, tmp_path):
        touch(tmp_path, "fake/b.mp4")
        assert "no file is REAL (1 file, all FAKE)" in read_catalogue(tmp_path).warnings[0]

    def test_links_to_folders_are_followed_but_never_round_in_circles(self, tmp_path):
        touch(tmp_path / "elsewhere", "a.mp4")
        touch(tmp_path / "source", "fake/b.mp4")
        (tmp_path / "source/real").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
        assert labels_of(read_catalogue(tmp_path / "source")) == {"real/a.mp4": False, "fake/b.mp4": True}


class TestSource:
    def test_a_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(CatalogueError, match="nowhere: is not a folder"):
            read_catalogue(tmp_path / "nowhere")

    @pytest.mark.parametrize("labels", ["folders", "faceforensics", "celebdf"])
    def test_a_folder_without_videos_is_an_error(self, tmp_path, labels):
        touch(tmp_path, "notes.txt")
        with pytest.raises(CatalogueError, match=f"no videos in the layout '{labels}'"):
            read_catalogue(tmp_path, labels)

    def test_an_unknown_layout_is_an_error(self, tmp_path):
        with pytest.raises(CatalogueError, match="dfcd: is neither an existing CSV nor one of folders, dfdc"):
            read_catalogue(tmp_path, "dfcd")

    def test_a_name_that_no_manifest_can_hold_is_left_out(self, tmp_path):
        touch(tmp_path, "real/c.mp4", "fake/c.mp4")
        try:
            touch(tmp_path, "real/a\udcff.mp4")
        except OSError:
            pytest.skip("this file system has Unicode names only")
        catalogue = read_catalogue(tmp_path)
        assert [video.name for video in catalogue.videos] == ["fake/c.mp4", "real/c.mp4"]
        assert catalogue.warnings == (
            "left out 1 file with a name that is not valid Unicode (first: 'real/a\\udcff.mp4')",
        )


class TestDfdc:
    ROWS = {  # noqa: RUF012
        "fake1.mp4": {"label": "FAKE", "split": "train", "original": "real1.mp4"},
        "fake2.mp4": {"label": "FAKE", "split": "train", "original": "real1.mp4"},
        "real1.mp4": {"label": "REAL", "split": "train", "original": None},
    }

    def test_parts_are_read_each_with_its_metadata_and_the_group_is_the_original(self, tmp_path):
        other = {
            "real2.mp4": {"label": "REAL", "original": "real1.mp4"},
            "fake3.mp4": {"label": "FAKE", "original": "real1.mp4"},
        }
        write(touch(tmp_path / "part_0", *self.ROWS) / "metadata.json", self.ROWS)
        write(touch(tmp_path / "part_1", *other, "stray.mp4") / "metadata.json", other)
        catalogue = read_catalogue(tmp_path, "dfdc")
        assert groups_of(catalogue) == {
            "part_0/fake1.mp4": "dfdc_real1",
            "part_0/fake2.mp4": "dfdc_real1",
            "part_0/real1.mp4": "dfdc_real1",
            "part_1/fake3.mp4": "dfdc_real1",
            "part_1/real2.mp4": "dfdc_real2",
        }
        assert all(is_fake == ("fake" in name) for name, is_fake in labels_of(catalogue).items())
        assert {(video.dataset, video.split) for video in catalogue.videos} == {("dfdc", None)}
        assert catalogue.warnings == (
            f"1 file in {tmp_path} is not in the labels and was left out (first: part_1/stray.mp4)",
        )

    def test_a_partial_download_is_one_counted_line(self, tmp_path):
        write(touch(tmp_path, "fake1.mp4") / "metadata.json", self.ROWS)
        catalogue = read_catalogue(tmp_path, "dfdc")
        assert "missing: 2 files listed in metadata.json (first: fake2.mp4)" in catalogue.warnings
        assert groups_of(catalogue) == {"fake1.mp4": "dfdc_real1"}

    def test_fakes_without_an_original_are_counted_and_grouped_by_themselves(self, tmp_path):
        originals = {"a": None, "b": float("nan"), "c": "NAN", "d": "", "e": 3}
        rows = {f"{name}.mp4": {"label": "FAKE", "original": original} for name, original in originals.items()}
        write(touch(tmp_path, *rows) / "metadata.json", rows)
        catalogue = read_catalogue(tmp_path, "dfdc")
        assert any("5 FAKE without an original" in line for line in catalogue.warnings)
        assert groups_of(catalogue) == {f"{name}.mp4": f"dfdc_{name}" for name in originals}

    @pytest.mark.parametrize(
        ("metadata", "message"),
        [
            pytest.param("{", "is not valid JSON", id="cut short"),
            pytest.param("[" * 100_000, "is not valid JSON", id="nested too deep"),
            pytest.param("[]", "not a JSON object with file names as keys", id="a list"),
            pytest.param({"a.mp4": "FAKE"}, "'a.mp4' has the label None", id="no object"),
            pytest.param({"a.mp4": {"label": "MAYBE"}}, "'MAYBE'. It must be REAL or FAKE", id="unknown label"),
            pytest.param({"../a.mp4": {"label": "REAL"}}, "not the name of a file beside it", id="path escapes"),
            pytest.param('{"a.mp4": {"label": "REAL"}, "a.mp4": {"label": "FAKE"}}', "listed twice", id="twice"),
            pytest.param({"b.mp4": {"label": "REAL"}}, "none of its files is present", id="nothing there"),
            pytest.param(b'{"\xe9.mp4": {}}', "cannot be read .*0xe9.*Download it again", id="not UTF-8"),
        ],
    )
    def test_unusable_metadata_is_an_error_that_names_it(self, tmp_path, metadata, message):
        if isinstance(metadata, bytes):
            (touch(tmp_path, "a.mp4") / "metadata.json").write_bytes(metadata)
        else:
            write(touch(tmp_path, "a.mp4") / "metadata.json", metadata)
        with pytest.raises(CatalogueError, match=message) as caught:
            read_catalogue(tmp_path, "dfdc")
        assert "metadata.json" in str(caught.value)

    def test_no_metadata_is_an_error(self, tmp_path):
        with pytest.raises(CatalogueError, match=r"no metadata\.json"):
            read_catalogue(touch(tmp_path, "a.mp4"), "dfdc")


def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "real/a.mp4", "fake/locked/b.mp4")
    scandir = os.scandir

    def refuse_one(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse_one)
    with pytest.raises(
        CatalogueError, match=r"fake/locked: cannot be listed \(Permission denied\)\. Check its permissions"
    ):
        read_catalogue(tmp_path)


class TestTable:
    def test_optional_columns_are_read(self, tmp_path):
        touch(tmp_path, "v/a.mp4", "v/b.mp4", "v/c.mp4", "v/d.xyz")
        table = write(
            tmp_path / "labels.csv",
            "\ufefffile,label,group,dataset,split,note\n"
            "v/a.mp4,fake,g1,lab,val,\n./v/b.mp4, Real ,g1,,TEST,x\n\nv/c.mp4,REAL,,,,\nv/d.xyz,FAKE\n",
        )
        catalogue = read_catalogue(tmp_path, table)
        assert labels_of(catalogue) == {"v/a.mp4": True, "v/b.mp4": False, "v/c.mp4": False, "v/d.xyz": True}
        assert groups_of(catalogue) == {"v/a.mp4": "g1", "v/b.mp4": "g1", "v/c.mp4": "v/c.mp4", "v/d.xyz": "v/d.xyz"}
        assert splits_of(catalogue) == {"v/a.mp4": "validation", "v/b.mp4": "test", "v/c.mp4": None, "v/d.xyz": None}
        assert [video.dataset for video in catalogue.videos] == ["lab", "videos", "videos", "videos"]

    def test_a_fake_with_a_group_of_its_own_choice_is_not_counted_as_ungrouped(self, tmp_path):
        touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
        table = write(tmp_path / "labels.csv", "file,label,group\na.mp4,REAL,\nb.mp4,FAKE,bob\nc.mp4,FAKE,\n")
        (warning,) = read_catalogue(tmp_path, table).warnings
        assert warning.startswith("1 FAKE file shares no group with a REAL one (first: c.mp4)")

    def test_names_are_relative_to_the_source_or_else_to_the_table(self, tmp_path):
        touch(tmp_path, "data/videos/a.mp4", "work/b.mp4")
        inside = tmp_path / "data/videos/a.mp4"
        table = write(tmp_path / "work/labels.csv", f"file,label\n{inside},REAL\nb.mp4,FAKE\n")
        catalogue = read_catalogue(tmp_path / "data", table)
        assert labels_of(catalogue) == {"videos/a.mp4": False, "b.mp4": True}

    def test_a_relative_source_gives_the_same_names(self, tmp_path, monkeypatch):
        touch(tmp_path, "v/a.mp4", "v/b.mp4", "v/c.mp4")
        write(tmp_path / "labels.csv", "file,label,group\nv/a.mp4,REAL,\nv/b.mp4,FAKE,b\n")
        monkeypatch.chdir(tmp_path)
        catalogue = read_catalogue(Path("v"), "labels.csv")
        assert set(labels_of(catalogue)) == {"a.mp4", "b.mp4"}
        assert catalogue.warnings == ("1 file in v is not in the labels and was left out (first: c.mp4)",)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(
                "file|label\na.mp4|REAL\n",
                r"column 'file' is missing.*has: file\|label\. Name the columns file and label",
                id="separator",
            ),
            pytest.param("", r"labels\.csv: is empty. Write a first line `file,label`", id="empty file"),
            pytest.param("file,label\n,\n", "contains only a header", id="header only"),
            pytest.param("file\na.mp4\n", "column 'label' is missing", id="no label column"),
            pytest.param("file,label,Label\na.mp4,REAL,FAKE\n", "column 'label' appears twice", id="column twice"),
            pytest.param(
                "file,label\nC:\\x\\a.mp4,REAL\n", "is a Windows path that does not exist here", id="Windows drive"
            ),
            pytest.param("file,label\na.mp4,MAYBE\n", "line 2: label 'MAYBE' is unknown", id="unknown label"),
            pytest.param("file,label\na.mp4\n", "line 2: label '' is unknown", id="label missing in the row"),
            pytest.param("file,label\na.mp4,REAL,x\n", "line 2: more cells than columns", id="comma in a name"),
            pytest.param("file,label,split\na.mp4,REAL,dev\n", "line 2: split 'dev' is unknown", id="unknown split"),
            pytest.param("file,label\n\n,REAL\n", "line 3: file '' is neither", id="no file"),
            pytest.param("label,file\nREAL\n", "line 2: file '' is neither", id="no file in the last column"),
            pytest.param("file,label\n.,REAL\n", r"line 2: file '\.' is neither", id="the folder itself"),
            pytest.param(
                "file,label\na.mp4,REAL\n./a.mp4,FAKE\n", "line 3: ./a.mp4 is already on line 2", id="listed twice"
            ),
            pytest.param(
                "file,label\na.mp4,REAL\nb.mp4,REAL\nc.mp4,REAL\n",
                r"missing 2 files of the 3 listed \(first: .*b\.mp4, line 3\)",
                id="files missing",
            ),
            pytest.param("file,label\nx/../../out.mp4,REAL\n", "neither below", id="dots lead out on a detour"),
            pytest.param("file,label\n/etc/hostname,REAL\n", "neither below", id="absolute path outside"),
            pytest.param('file,label\na.mp4,"REAL\nb.mp4,FAKE\n', "label 'REAL.*is unknown", id="open quote"),
            pytest.param(
                'file,label\na.mp4,"REAL\n' + "b.mp4,FAKE\n" * 20_000,
                r"line \d+: cannot be read \(field larger than .*\)\. Close its quotes",
                id="open quote of a large table",
            ),
        ],
    )
    def test_a_wrong_table_is_an_error_that_says_where(self, tmp_path, content, message):
        touch(tmp_path, "in/a.mp4", "out.mp4")
        table = write(tmp_path / "in/labels.csv", content)
        with pytest.raises(CatalogueError, match=message):
            read_catalogue(tmp_path / "in", table)

    def test_a_table_that_is_not_text_is_an_error(self, tmp_path):
        table = touch(tmp_path, "a.mp4") / "labels.csv"
        table.write_bytes(b"file,label\n\xff\xfe,REAL\n")
        with pytest.raises(CatalogueError, match=r"labels\.csv, line 2: is not in UTF-8, but probably in Latin-1"):
            read_catalogue(tmp_path, table)
        table.write_text("file,label\na.mp4,REAL\n", encoding="utf-16")
        with pytest.raises(CatalogueError, match=r"labels\.csv: is encoded in UTF-16. Save it as CSV in UTF-8"):
            read_catalogue(tmp_path, table)

    def test_a_table_that_may_not_be_read_is_an_error(self, tmp_path, monkeypatch):
        table = write(touch(tmp_path, "a.mp4") / "labels.csv", "file,label\na.mp4,REAL\n")

        def refuse(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(CatalogueError, match=r"labels\.csv: cannot be read \(Permission denied\)\. Check its perm"):
            read_catalogue(tmp_path, table)

    @pytest.mark.parametrize(
        "content",
        [
            "file;label\nv/a.mp4;REAL\nv/b.mp4;FAKE\n",
            '"file";"label"\n"v/a.mp4";"REAL"\n"v/b.mp4";"FAKE"\n',
            "file\tlabel\nv/a.mp4\tREAL\nv/b.mp4\tFAKE\n",
            " File , LABEL \r\nv/a.mp4, REAL\r\n,\r\nv/b.mp4, FAKE\r\n",
            "file,label,,\nv/a.mp4,REAL,,\n,,,\nv/b.mp4,FAKE,,,\n",
            ",file,label\n0,v/a.mp4,REAL\n1,v/b.mp4,FAKE\n",
            "file,label\nv\\a.mp4,REAL\n.\\v\\b.mp4,FAKE\n",
        ],
        ids=[
            "semicolons",
            "quoted header",
            "tabs",
            "blanks and an empty row",
            "empty columns",
            "index column",
            "Windows paths",
        ],
    )
    def test_tables_of_other_programs_are_read(self, tmp_path, content):
        table = touch(tmp_path, "v/a.mp4", "v/b.mp4") / "labels.csv"
        table.write_bytes(content.encode())
        catalogue = read_catalogue(tmp_path, table)
        assert labels_of(catalogue) == {"v/a.mp4": False, "v/b.mp4": True}
        (warning,) = catalogue.warnings
        assert warning.startswith("1 FAKE file shares no group with a REAL one (first: v/b.mp4)")

    @pytest.mark.parametrize(("on_disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
    def test_both_unicode_forms_of_a_name_are_found(self, tmp_path, on_disk, listed):
        name = unicodedata.normalize(on_disk, "müller.mp4")
        touch(tmp_path, name, "b.mp4")
        rows = f"file,label\n{unicodedata.normalize(listed, name)},REAL\nb.mp4,FAKE\n"
        assert labels_of(read_catalogue(tmp_path, write(tmp_path / "labels.csv", rows)))[name] is False

    def test_a_backslash_may_be_part_of_a_name(self, tmp_path):
        touch(tmp_path, "a\\b.mp4", "a/b.mp4", "c.mp4")
        table = write(tmp_path / "labels.csv", "file,label\na\\b.mp4,REAL\nc.mp4,FAKE\n")
        assert set(labels_of(read_catalogue(tmp_path, table))) == {"a\\b.mp4", "c.mp4"}

    def test_two_files_of_the_same_name_are_an_error(self, tmp_path):
        touch(tmp_path, "x/v/a.mp4", "v/a.mp4")
        table = write(tmp_path / "labels.csv", "file,label\nx/v/a.mp4,REAL\nv/a.mp4,FAKE\n")
        with pytest.raises(CatalogueError, match="would have the same name"):
            read_catalogue(tmp_path / "x", table)


class TestFaceForensics:
    REAL = "original_sequences/youtube/c23/videos"
    FAKE = "manipulated_sequences/Deepfakes/c23/videos"
    MADE = "manipulated_sequences/DeepFakeDetection/raw/videos"

    def test_a_fake_joins_both_of_its_originals(self, tmp_path):
        touch(tmp_path, f"{self.REAL}/033.mp4", f"{self.REAL}/097.mp4", f"{self.REAL}/500.mp4")
        touch(tmp_path, f"{self.FAKE}/033_097.mp4", "manipulated_sequences/Face2Face/c40/videos/097_033.mp4")
        touch(tmp_path, "manipulated_sequences/Deepfakes/masks/videos/033_097.mp4")
        catalogue = read_catalogue(tmp_path, "faceforensics")
        assert "1 file in" in catalogue.warnings[0]  # the video of the mask
        assert groups_of(catalogue) == {
            f"{self.REAL}/033.mp4": "faceforensics_033",
            f"{self.REAL}/097.mp4": "faceforensics_033",
            f"{self.FAKE}/033_097.mp4": "faceforensics_033",
            "manipulated_sequences/Face2Face/c40/videos/097_033.mp4": "faceforensics_033",
            f"{self.REAL}/500.mp4": "faceforensics_500",
        }
        assert [video.dataset for video in catalogue.videos] == [
            "faceforensics_c23_deepfakes",
            "faceforensics_c40_face2face",
            *["faceforensics_c23_youtube"] * 3,
        ]
        assert [video.is_fake for video in catalogue.videos] == [True, True, False, False, False]

    def test_actors_are_joined_and_kept_apart_from_numbered_videos(self, tmp_path):
        actors = "original_sequences/actors/raw/videos"
        touch(tmp_path, f"{actors}/03__exit_phone_room.mp4", f"{actors}/11__hugging.mp4", f"{self.REAL}/011.mp4")
        touch(tmp_path, f"{self.MADE}/01_11__meeting_serious__9OM3VE0Y.mp4", f"{self.MADE}/01_03__walk__ABC.mp4")
        groups = groups_of(read_catalogue(tmp_path, "faceforensics"))
        assert groups.pop(f"{self.REAL}/011.mp4") == "faceforensics_011"
        assert set(groups.values()) == {"faceforensics_actor01"}

    @pytest.mark.parametrize("place", ["", "splits/"])
    def test_official_lists_give_the_split(self, tmp_path, place):
        touch(tmp_path, f"{self.REAL}/033.mp4", f"{self.FAKE}/033_097.mp4", f"{self.FAKE}/001_002.mp4")
        touch(tmp_path, f"{self.FAKE}/003_004.mp4", f"{self.REAL}/500.mp4", f"{self.MADE}/01_11__walk__ABC.mp4")
        lists = {"train": [["097", "033"]], "val": [["001", "002"]], "test": [["004", "003"]]}
        for name, pairs in lists.items():
            write(tmp_path / f"{place}{name}.json", pairs)
        assert splits_of(read_catalogue(tmp_path, "faceforensics")) == {
            f"{self.REAL}/033.mp4": "train",
            f"{self.FAKE}/033_097.mp4": "train",
            f"{self.FAKE}/001_002.mp4": "validation",
            f"{self.FAKE}/003_004.mp4": "test",
            f"{self.REAL}/500.mp4": None,
            f"{self.MADE}/01_11__walk__ABC.mp4": None,
        }

    @pytest.mark.parametrize(
        ("lists", "message"),
        [
            pytest.param(
                {"train": [["033", "097"]], "test": [["033", "1"]]}, "'033' is in the train list too", id="two"
            ),
            pytest.param({"train": [["033", "1"]], "test": [["097", "2"]]}, "ids are in different splits", id="torn"),
            pytest.param({"train": {"033": "097"}}, "not a list of pairs", id="not a list"),
            pytest.param({"train": ["033"]}, "not a list of pairs", id="not pairs"),
            pytest.param({"train": "["}, r"train\.json: is not valid JSON", id="cut short"),
        ],
    )
    def test_contradictory_lists_are_an_error(self, tmp_path, lists, message):
        touch(tmp_path, f"{self.FAKE}/033_097.mp4")
        for name, pairs in lists.items():
            write(tmp_path / f"{name}.json", pairs)
        with pytest.raises(CatalogueError, match=message):
            read_catalogue(tmp_path, "faceforensics")

    def test_a_name_without_ids_is_an_error(self, tmp_path):
        touch(tmp_path, f"{self.FAKE}/my_video.mp4")
        with pytest.raises(CatalogueError, match="its name has no source ids"):
            read_catalogue(tmp_path, "faceforensics")


class TestCelebDf:
    FILES = (
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id5_0000.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id2_id1_0003.mp4",
        "YouTube-real/00000.mp4",
    )

    def test_identities_are_joined_through_fakes(self, tmp_path):
        catalogue = read_catalogue(touch(tmp_path, *self.FILES), "celebdf")
        assert list(groups_of(catalogue).values()) == [
            "celebdf_id0",
            "celebdf_id5",
            "celebdf_id0",
            "celebdf_id0",
            "celebdf_youtube_00000",
        ]
        assert list(labels_of(catalogue).values()) == [False, False, True, True, False]
        assert catalogue.warnings == (f"List_of_testing_videos.txt is not in {tmp_path}: there is no official split",)

    def test_one_means_real_in_the_official_list(self, tmp_path):
        touch(tmp_path, *self.FILES, "Celeb-real/extra/notes.txt", "cover.jpg")
        write(
            tmp_path / "List_of_testing_videos.txt",
            "1 Celeb-real/id5_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n\n1 YouTube-real/00009.mp4\n",
        )
        catalogue = read_catalogue(tmp_path, "celebdf")
        assert list(splits_of(catalogue).values()) == [None, "test", "test", None, None]
        assert catalogue.warnings == (
            "missing: 1 file listed in List_of_testing_videos.txt (first: YouTube-real/00009.mp4)",
            f"1 file in {tmp_path} is not in the official folders and was left out (first: cover.jpg)",
            f"1 other file in {tmp_path}: no video or image suffix, left out "
            "(1 .txt; first: Celeb-real/extra/notes.txt)",
        )

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            pytest.param("0 Celeb-real/id5_0000.mp4", "line 2: .* contradicts its folder", id="real called fake"),
            pytest.param("1 Celeb-synthesis/id0_id1_0000.mp4", "contradicts its folder", id="fake called real"),
            pytest.param("Celeb-real/id5_0000.mp4", "line 2: .* is not of the form '1 Celeb-real", id="no label"),
            pytest.param("2 Celeb-real/id5_0000.mp4", "is not of the form '1 Celeb-real", id="unknown label"),
            pytest.param("1 Elsewhere/id5_0000.mp4", "is not of the form '1 Celeb-real", id="unknown folder"),
        ],
    )
    def test_a_contradictory_list_is_an_error(self, tmp_path, line, message):
        touch(tmp_path, *self.FILES)
        write(tmp_path / "List_of_testing_videos.txt", f"1 Celeb-real/id0_0000.mp4\n{line}\n")
        with pytest.raises(CatalogueError, match=message):
            read_catalogue(tmp_path, "celebdf")

    def test_a_name_without_identity_is_an_error(self, tmp_path):
        with pytest.raises(CatalogueError, match="its name has no identity"):
            read_catalogue(touch(tmp_path, "Celeb-real/holiday.mp4"), "celebdf")
