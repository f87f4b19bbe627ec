"""What memory there is to take."""

import pytest
import torch

from alframe import limits
from alframe.limits import available_bytes


@pytest.mark.parametrize(("most", "free"), [("9000", 9000 - (5000 - 3000)), ("1000", 0)])
def test_what_a_container_holds_of_files_is_free(most, free, tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 1500\nactive_file 1000\ninactive_file 2000\n")
    monkeypatch.setattr(limits, "GROUP", tmp_path)
    assert available_bytes() == free


def test_without_a_container_all_of_the_host_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "GROUP", tmp_path)
    of_the_host = available_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("")
    assert 2**20 < available_bytes() < 2 * of_the_host


def test_what_a_gpu_holds_for_graphs_is_not_free(monkeypatch):
    def segment(device, total, taken, pool):
        return {
            "device": device,
            "total_size": total,
            "allocated_size": taken,
            "segment_pool_id": pool,
        }

    held = [
        segment(0, 100, 60, (0, 0)),  # 40 that torch has and no tensor uses
        segment(0, 1000, 0, (0, 1)),  # a graph's
        segment(1, 5000, 0, (0, 0)),  # another GPU's
    ]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (7, 10_000))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: held)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert available_bytes("cuda:0") == 7 + 40
    assert available_bytes("cuda") == 7 + 5000
