"""The optimum of learned soups where it is known: linear classifiers, by SciPy.

    python tests/oracle/learned_optimum.py > tests/oracle/learned_optimum.json

The models are linear, f(x; W) = W x, so the logits of a soup are the soup of the logits, and with w_i = β·α_i the loss

    mean_j ℓ(Σ_i w_i·W_i x_j, y_j),  w ≥ 0,

is convex in w: α in the simplex and β > 0 are w/Σw and Σw. L-BFGS-B (SciPy) finds its only minimum, from three starts,
to a projected gradient below 1e-9. `uniform`, `vertex`: the losses of the uniform soup and of the best single model,
each at its best β; β = 1 for `plain`. Two of the six models are ruined: random weights ten times as large.
`by_class` is the same with one α for each class: rows of W are tensors of their own, w[class][model] ≥ 0 with the sums
Σ_i w[class][i] all equal to β; SLSQP (SciPy).
"""
import json
import sys

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

MODELS, RUINED, CLASSES, FEATURES, SAMPLES = 6, 2, 3, 4, 60


def problem():
    r = np.random.default_rng(5)
    truth = r.normal(size=(CLASSES, FEATURES))
    x = r.normal(size=(SAMPLES, FEATURES))
    y = (x @ truth.T + 0.5 * r.gumbel(size=(SAMPLES, CLASSES))).argmax(1)
    good = [truth + 0.9 * r.normal(size=truth.shape) for _ in range(MODELS - RUINED)]
    bad = [10 * r.normal(size=truth.shape) for _ in range(RUINED)]
    return np.round(x, 6), y, np.round(np.stack(good + bad), 6)


def cross_entropy(z, y):
    """Mean loss and its slope in the logits."""
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = (logsumexp(z, axis=1) - z[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(y)


def main():
    x, y, models = problem()
    logits = np.einsum("icf,jf->ijc", models, x)  # [model][sample][class]

    def one(w):
        loss, slope = cross_entropy(np.tensordot(w, logits, 1), y)
        return loss, np.tensordot(logits, slope, ((1, 2), (0, 1)))

    def best_beta(w):
        found = minimize(lambda b: one(b[0] * w)[0], [1.0], method="Nelder-Mead", options=dict(xatol=1e-12, fatol=1e-15))
        return float(found.fun), float(found.x[0])

    ends = []
    for start in (np.full(MODELS, 1 / MODELS), np.eye(MODELS)[0] + 0.01, np.random.default_rng(1).random(MODELS)):
        found = minimize(one, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * MODELS,
                         options=dict(ftol=0, gtol=1e-12, maxiter=10000))
        ends.append((found.fun, found.x))
    ends.sort(key=lambda end: end[0])
    assert ends[-1][0] - ends[0][0] < 1e-10, ends
    loss, w = ends[0]
    gradient = one(w)[1]
    assert np.abs(np.where(w > 0, gradient, np.minimum(gradient, 0))).max() < 1e-6

    def by_class(v):
        w, beta = v[:-1].reshape(CLASSES, MODELS), v[-1]
        loss, slope = cross_entropy(np.einsum("ci,ijc->jc", w, logits), y)
        return loss, np.append(np.einsum("ijc,jc->ci", logits, slope).ravel(), 0.0)

    sums = [dict(type="eq", fun=lambda v, c=c: v[c * MODELS:(c + 1) * MODELS].sum() - v[-1]) for c in range(CLASSES)]
    found = minimize(by_class, np.append(np.tile(w, CLASSES), w.sum()), jac=True, method="SLSQP", constraints=sums,
                     bounds=[(0, None)] * (CLASSES * MODELS) + [(1e-3, None)], options=dict(ftol=1e-15, maxiter=1000))
    assert found.success, found.message
    rows = found.x[:-1].reshape(CLASSES, MODELS) / found.x[-1]

    vertices = [best_beta(np.eye(MODELS)[i]) for i in range(MODELS)]
    best = int(np.argmin([v[0] for v in vertices]))
    uniform = best_beta(np.full(MODELS, 1 / MODELS))
    json.dump(dict(
        x=x.tolist(), labels=y.tolist(), models=models.tolist(),
        one=dict(loss=loss, alpha=(w / w.sum()).tolist(), beta=w.sum()),
        by_class=dict(loss=found.fun, alpha=rows.tolist(), beta=found.x[-1]),
        uniform=dict(loss=uniform[0], beta=uniform[1], plain=one(np.full(MODELS, 1 / MODELS))[0]),
        vertex=dict(model=best, loss=vertices[best][0], beta=vertices[best][1], plain=one(np.eye(MODELS)[best])[0]),
    ), sys.stdout)
    print()


if __name__ == "__main__":
    main()
