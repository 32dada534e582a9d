"""The line in front of the detector."""

import threading

import pytest

from dfutils.app.queue import Line, LineFullError


@pytest.fixture
def line():
    line = Line(longest=2)
    yield line
    line.close()


@pytest.fixture
def gate():
    """Work that ends when it may."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_everybody_knows_their_place_and_moves_up(line, gate):
    first, second, third = (line.enter(gate.wait) for _ in range(3))
    assert [one.place for one in (first, second, third)] == [0, 1, 2]
    second.leave()
    assert third.place == 1
    gate.set()
    assert third.wait(10)
    assert third.place == 0
    assert third.result() is True


def test_one_too_many_is_turned_away(line, gate):
    for _ in range(3):
        line.enter(gate.wait)
    with pytest.raises(LineFullError):
        line.enter(gate.wait)


def test_who_leaves_while_being_served_keeps_the_place_until_the_work_ends(line, gate):
    first, second = line.enter(gate.wait), line.enter(gate.wait)
    first.leave()
    assert second.place == 1


def test_an_error_is_its_owners_alone(line):
    def broken():
        raise ValueError("broken")

    bad, good = line.enter(broken), line.enter(lambda: "fine")
    with pytest.raises(ValueError, match="broken"):
        bad.result()
    assert good.result() == "fine"
