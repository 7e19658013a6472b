"""Waiting in one thread for what happens in another."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from engine.waiting import result_of

LATER_S = 0.1
MUCH_LATER_S = 10.0


def later(seconds: float, call: object, *arguments: object) -> threading.Timer:
    assert callable(call)
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()
    return timer


@pytest.fixture
def _waits_go_on_after_signals() -> Iterator[None]:
    """As a library leaves it that has a signal handler of its own."""
    others = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.siginterrupt(signal.SIGINT, False)
    yield
    signal.signal(signal.SIGINT, others)


def test_the_result_is_given_as_soon_as_it_is_there() -> None:
    future: Future[int] = Future()
    later(LATER_S, future.set_result, 3)
    assert result_of(future) == 3


def test_an_error_is_raised_also_one_that_means_that_time_is_up() -> None:
    future: Future[int] = Future()
    later(LATER_S, future.set_exception, TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        result_of(future)


@pytest.mark.usefixtures("_waits_go_on_after_signals")
def test_ctrl_c_ends_the_wait_where_signals_do_not_break_it_off() -> None:
    future: Future[int] = Future()
    later(LATER_S, os.kill, os.getpid(), signal.SIGINT)
    otherwise = later(MUCH_LATER_S, future.set_result, 3)
    with pytest.raises(KeyboardInterrupt):
        result_of(future)
    assert not future.done()
    otherwise.cancel()
