from pathlib import Path

import torch

from lenet_pl.runtime.shared_tensors import TensorFile, loads


def test_tensors_that_share_memory_are_written_once_and_still_share_it(tmp_path: Path) -> None:
    pixels = torch.arange(3 * 1000 * 1000, dtype=torch.uint8).view(3, 1000, 1000)
    rows = torch.tensor([2, 0])
    file = TensorFile(tmp_path / "tensors.pt")
    sent = [file.dumps({"pixels": pixels, "rows": rows}), file.dumps((pixels[1:].transpose(1, 2), "text"))]
    file.save()
    assert max(map(len, sent)) < 1000
    assert pixels.nbytes < file.path.stat().st_size < 1.01 * pixels.nbytes
    one, (view, text) = loads(file.path, *sent)
    torch.testing.assert_close(one["pixels"], pixels, rtol=0, atol=0)
    torch.testing.assert_close(view, pixels[1:].transpose(1, 2), rtol=0, atol=0)
    assert (one["rows"].tolist(), text, view.stride()) == ([2, 0], "text", pixels[1:].transpose(1, 2).stride())
    one["pixels"].zero_()  # a copy of this process alone
    assert loads(file.path, sent[1])[0][0].sum() == pixels[1:].sum()
