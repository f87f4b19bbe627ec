"""What a piece of work costs."""

from __future__ import annotations

import time

import torch

from alframe.meter import Meter


def test_a_meter_takes_the_time_of_its_work():
    start = time.perf_counter()
    with Meter() as meter:
        time.sleep(0.02)
    assert 0.02 <= meter.seconds <= time.perf_counter() - start


def test_a_cpu_has_no_peak_and_no_gpu_is_woken():
    before = torch.cuda.is_initialized()
    with Meter() as meter:
        torch.zeros(10)
    assert meter.peak_bytes is None or before
    assert torch.cuda.is_initialized() == before


def test_on_a_device_the_clock_waits_and_the_peak_is_read(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    with Meter() as meter:
        calls.append("work")
    assert calls == ["wait", "reset", "work", "wait"]
    assert meter.peak_bytes == 123
