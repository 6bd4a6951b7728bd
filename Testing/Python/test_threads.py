"""Threads of the engines: results in order, few of them in memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fewshot_annotate.engines.threads import ENGINE_THREADS, map_few


def test_results_are_in_order_although_later_ones_are_ready_earlier() -> None:
    last_is_done = threading.Event()

    def square(number: int) -> int:
        if number == ENGINE_THREADS - 1:
            last_is_done.set()
        elif number == 0:
            assert last_is_done.wait(10)
        return number**2

    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        assert list(map_few(threads, square, range(7))) == [number**2 for number in range(7)]


def test_few_results_are_calculated_before_they_are_needed() -> None:
    begun: list[int] = []
    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        for needed, number in enumerate(map_few(threads, lambda number: begun.append(number) or number, range(20))):
            assert number == needed
            assert len(begun) <= needed + ENGINE_THREADS
    assert len(begun) == 20


def test_after_an_error_and_after_a_stop_no_further_result_is_calculated() -> None:
    begun: list[int] = []

    def failing(number: int) -> int:
        begun.append(number)
        return 1 // (number - 1)

    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        results = map_few(threads, failing, range(50))
        assert next(results) == -1
        with pytest.raises(ZeroDivisionError):
            list(results)
        stopped = map_few(threads, failing, range(5, 50))
        next(stopped)
        stopped.close()
    assert len(begun) <= 4 * ENGINE_THREADS
