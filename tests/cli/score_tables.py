"""Files of scores, as users bring them."""

import numpy as np
import pandas as pd


def scores(path, shift, n=200, seed=0, **columns):
    rng = np.random.default_rng(seed)
    member = np.arange(n) % 2
    table = pd.DataFrame({"score": rng.normal(shift * member, 1), "member": member, **columns})
    return write(table, path)


def write(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)
    return path
