"""The queue in front of the detector."""

import threading

import pytest

from dfutils.app.queue import JobQueue


@pytest.fixture
def queue():
    queue = JobQueue(waiting=2)
    yield queue
    queue.close()


@pytest.fixture
def gate():
    """Lets the work end when it is set."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_everybody_sees_their_position_and_moves_up(queue, gate):
    first, second, third = (queue.enter(gate.wait) for _ in range(3))
    assert [one.position for one in (first, second, third)] == [0, 1, 2]
    second.leave()
    assert third.position == 1
    gate.set()
    assert third.wait(10)
    assert third.position == 0
    assert third.result() is True


def test_a_visitor_who_leaves_while_being_served_keeps_the_place_until_the_work_ends(queue, gate):
    first, second = queue.enter(gate.wait), queue.enter(gate.wait)
    first.leave()
    assert second.position == 1


def test_an_error_reaches_only_its_owner(queue):
    def broken():
        raise ValueError("broken")

    bad, good = queue.enter(broken), queue.enter(lambda: "fine")
    with pytest.raises(ValueError, match="broken"):
        bad.result()
    assert good.result() == "fine"
