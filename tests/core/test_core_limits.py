"""What memory there is to take."""

import torch

from alframe.limits import available_bytes


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
