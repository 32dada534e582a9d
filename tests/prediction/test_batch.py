"""Working ahead: in order, bounded, with errors in their place."""

import threading

import pytest

from dfutils.errors import CatalogueError
from dfutils.prediction.batch import ahead, expand_inputs


def test_results_come_in_the_order_of_the_items_whatever_finishes_first():
    later = threading.Event()

    def work(item):
        if item == 0:
            assert later.wait(10)
        if item == 1:
            later.set()
        return item * 10

    assert list(ahead(work, range(4), workers=2)) == [(0, 0), (1, 10), (2, 20), (3, 30)]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_run_further_ahead_than_their_number(workers):
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    for number, _ in ahead(lambda item: item, items(), workers=workers):
        assert len(taken) <= number + workers + 1
    assert len(taken) == 50


def test_an_error_is_raised_where_its_result_would_have_been():
    def work(item):
        return 1 // item

    results = ahead(work, [1, 0, 2], workers=2)
    assert next(results) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_caller_who_stops_early_leaves_no_work_behind():
    done = []
    results = ahead(done.append, range(100), workers=2)
    next(results)
    results.close()
    assert len(done) <= 4


def test_a_folder_without_a_video_or_image_is_an_error_that_counts_its_files(tmp_path):
    with pytest.raises(CatalogueError, match=r"this folder has no videos or images\. Give another folder, or a file"):
        expand_inputs([str(tmp_path)])
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CatalogueError, match=r"no videos or images \(1 other file in .*first: notes\.txt\)\)"):
        expand_inputs(["a.mp4", str(tmp_path)])
