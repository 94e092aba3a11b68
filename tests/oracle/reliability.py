"""Calibration of logits in NumPy: β, loss, expected calibration error and Brier score.

    python tests/oracle/reliability.py > tests/oracle/reliability.json

β minimises the mean cross-entropy of β·z (SciPy, bounded scalar minimisation). The expected calibration error is
Σ_m |B_m|/n·|accuracy(B_m) − confidence(B_m)| over the bins ((m−1)/15, m/15] of the largest probability (Guo et al. 2017);
the Brier score is the mean of Σ (p − one-hot)² over the classes. `probabilities` is the mean of the two models'
probabilities, its logits the logarithms.
"""
import json
import sys

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

SAMPLES, CLASSES, BINS = 200, 5, 15


def measured(z, labels, beta):
    log_p = log_softmax(beta * z, axis=1)
    p = np.exp(log_p)
    rows = np.arange(len(labels))
    confidence, right = p.max(1), p.argmax(1) == labels
    ece = 0.0
    for m in range(1, BINS + 1):
        bin = (confidence > (m - 1) / BINS) & (confidence <= m / BINS)
        if bin.any():
            ece += bin.mean() * abs(right[bin].mean() - confidence[bin].mean())
    one_hot = np.eye(CLASSES)[labels]
    return dict(loss=float(-log_p[rows, labels].mean()), ece=float(ece), brier=float(((p - one_hot) ** 2).sum(1).mean()))


def calibrated(z, labels):
    loss = lambda log_beta: measured(z, labels, np.exp(log_beta))["loss"]
    found = minimize_scalar(loss, bounds=(np.log(1e-3), np.log(1e3)), method="bounded", options=dict(xatol=1e-12))
    beta = float(np.exp(found.x))
    return dict(beta=beta, plain=measured(z, labels, 1.0), calibrated=measured(z, labels, beta))


def main():
    r = np.random.default_rng(11)
    labels = r.integers(CLASSES, size=SAMPLES)
    z = r.normal(size=(2, SAMPLES, CLASSES))
    z[:, np.arange(SAMPLES), labels] += 1.5
    z = np.round(z * np.array([4.0, 0.5])[:, None, None], 3).astype(np.float32).astype(np.float64)
    weights = np.array([0.25, 0.75])
    logits = np.tensordot(weights, z, 1).astype(np.float32).astype(np.float64)
    probabilities = logsumexp(log_softmax(z, axis=2), axis=0, b=weights[:, None, None])
    json.dump(dict(logits=z.tolist(), labels=labels.tolist(), weights=weights.tolist(),
                   models=[calibrated(z[0], labels), calibrated(z[1], labels)],
                   ensemble=calibrated(logits, labels), probabilities=calibrated(probabilities, labels)), sys.stdout)
    print()


if __name__ == "__main__":
    main()
