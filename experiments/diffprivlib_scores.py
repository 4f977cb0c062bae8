"""Scores of diffprivlib's models; needs the extra `diffprivlib`.

Every second model is trained with the canary; the score is the log-probability of its label. All other records of a
class are alike, and the canary lies at the end of its range, under the label of the other side.
"""

import diffprivlib.models as models
import numpy as np

RECORDS = 8


def scores(kind: str, epsilon: float, count: int) -> list[tuple[float, float]]:
    """Scores of the canary and of a record that is never in, of `count` models of that name in `diffprivlib.models`."""
    x = np.tile([0.6, 0.0], (RECORDS, 1)) * np.repeat([1, -1], RECORDS // 2)[:, None]
    y = np.repeat([0, 1], RECORDS // 2)
    canary, never, label = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 1
    found = []
    for i in range(count):
        inside = i % 2 == 0
        xs, ys = (np.vstack([x, canary]), np.append(y, label)) if inside else (x, y)
        if kind == "LogisticRegression":
            model = models.LogisticRegression(epsilon=epsilon, data_norm=1.0, random_state=i)
        else:
            model = models.GaussianNB(epsilon=epsilon, bounds=(-1.0, 1.0), random_state=i)
        p = model.fit(xs, ys).predict_proba(np.vstack([canary, never]))[:, label]
        seen, other = np.log(np.maximum(p, 1e-300)).tolist()
        found.append((seen, other))
    return found
