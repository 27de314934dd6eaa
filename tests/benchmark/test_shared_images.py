import os
import sys
from pathlib import Path

import pytest
import torch

from lenet_pl.benchmark.shared_images import memory_of, shared_images_table
from lenet_pl.runtime.shared_tensors import TensorFile, loads


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_memory_of_mapped_images_is_counted_apart(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "tensors.pt")
    sent = file.dumps(torch.ones(10_000_000, dtype=torch.uint8))
    file.save()
    before = memory_of(os.getpid())
    [images] = loads(file.path, sent)
    assert images.sum() == 10_000_000
    file.path.unlink()
    after = memory_of(os.getpid())
    assert before["images_rss"] == 0
    assert after["images_rss"] == pytest.approx(10, abs=0.3)
    assert after["rss"] > after["images_rss"]
    assert memory_of(2**22 + 1)["rss"] == 0


def test_the_table_has_a_row_for_each_way() -> None:
    one = {"rss": 400.0, "pss": 150.0, "images_rss": 47.0, "images_pss": 9.4}
    rows = [
        {"n_jobs": 4, "seconds": 30.2, "processes": [one, one]},
        {"n_jobs": None, "seconds": 41, "processes": [one]},
    ]
    lines = shared_images_table({"folds": 4, "epochs": 2, "model": "lenet5", "rows": rows})
    assert lines[1] == ("4 folds, n_jobs=4", "30", "2", "400, 400", "300", "47, 47", "19")
    assert lines[2][0] == "4 commands"
