#!/usr/bin/env python3
"""Makes the files of tests/golden/npy: hidden states, ids and masks as NumPy saves them.

usage: make_npy.py FOLDER        needs: pip install numpy

Three sequences of four tokens, hidden size 5: entry i of hidden_states.2 is i + 1, id n is 100 + n.
The mask leaves out tokens 3 and 4 (at the ends of two sequences), 9 (inside one).
"""

import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
hidden = (np.arange(60, dtype=np.float32) + 1).reshape(3, 4, 5)
ids = (np.arange(12) + 100).reshape(3, 4)
mask = np.ones((3, 4), dtype=bool)
mask.flat[[3, 4, 9]] = False
everything = {"hidden_states.2": hidden, "input_ids": ids.astype(np.int64), "attention_mask": mask}
np.savez(folder / "states.npz", **everything)
np.savez_compressed(
    folder / "compressed.npz",
    **{
        **everything,
        "hidden_states.2": hidden.astype(np.float16),
        "input_ids": ids.astype(np.int32),
        "other": np.array(["text"]),
    },
)
np.savez(
    folder / "masked.npz",
    **{
        "hidden_states.2": hidden.reshape(12, 5).astype(np.float64),
        "input_ids": ids,
        "mask": mask.astype(np.int64),
        "derangement": np.array([1, 2, 3, 4, 5, 6, 7, 8, 0]),
    },
)
np.save(folder / "hidden_states.2.npy", hidden)
np.save(folder / "ids.npy", ids.astype(np.int32))
np.save(folder / "fortran.npy", np.asfortranarray(hidden.reshape(12, 5)))
np.save(folder / "big-endian.npy", hidden.astype(">f4"))
