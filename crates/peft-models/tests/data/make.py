"""Makes pytorch_model.bin and legacy.bin, with torch 2.9.0: `python make.py` in this folder.

The same state dictionary in PyTorch's two formats: the ZIP archive of version 1.6 and later, and the stream before it.
It holds what checkpoints of the hub hold: half precision, an integer buffer, the older names of normalisations, a
tensor that is a transposed view of its storage, two names for one storage, and indices with a gap. The bytes of
legacy.bin differ from run to run: it names storages by their addresses.
"""

from collections import OrderedDict

import torch

table = torch.arange(6, dtype=torch.float32).reshape(3, 2)
state = OrderedDict(
    [
        ("embeddings.weight", table),
        ("decoder.weight", table),
        ("heads.1.weight", torch.arange(6, dtype=torch.float32).reshape(2, 3).t()),
        ("heads.4.bias", torch.tensor([0.5, -1.5], dtype=torch.float16)),
        ("norm.gamma", torch.tensor([1.0, 2.0], dtype=torch.bfloat16)),
        ("norm.beta", torch.tensor([-1.0, 0.25], dtype=torch.float64)),
        ("position_ids", torch.arange(4).reshape(1, 4)),
    ]
)
torch.save(state, "pytorch_model.bin")
torch.save(state, "legacy.bin", _use_new_zipfile_serialization=False)
