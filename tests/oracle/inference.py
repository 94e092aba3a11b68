"""Tests, intervals and correlations of src/analysis/inference, from scipy, statsmodels and numpy.

    python tests/oracle/inference.py > tests/oracle/inference.json

Needs scipy, statsmodels and mpmath (scipy 1.17.1, statsmodels 0.15.0 made the committed file).

`paired`: losses of two models; mean and standard error of the difference from scipy's `ttest_rel` (statistic = mean/SE).
`mcnemar`: exact two-sided p values; statsmodels' `mcnemar(exact=True)` up to 10,000 discordant samples, and the sum of
binomial terms in 40 digits of mpmath for all (they agree to 1e-11). `adjusted`: `multipletests`. `proportions`:
`proportion_confint`. `curve`: values at 7 points of 60 samples; `quantile` is the 95 % quantile of the largest |normal|
of their correlation matrix in 4 million draws of numpy (standard error 0.001), and of that of the differences to point 2.
`pairs`: two quantities of the pairs of 6 models. Residuals by `lstsq` on a design of a constant and 6 models; p values
over all 720 permutations, the identity included; standard errors of atanh r by leaving each model out.
`means`: the mean of the first quantity and its jackknife interval; `share`: of positive ones.
"""
import itertools
import json

import mpmath
import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

mpmath.mp.dps = 40
rng = np.random.default_rng(7)


def paired():
    shared = rng.gamma(0.5, 1.0, 80)
    a, b = (shared * rng.uniform(0.7, 1.3, 80) + rng.gamma(0.3, 0.2, 80) for _ in range(2))
    mean = (a - b).mean()
    return {"a": list(a), "b": list(b), "mean": mean, "se": mean / stats.ttest_rel(a, b).statistic}


def exact_p(b, c):
    trials, most = b + c, max(b, c)
    term, total, k = mpmath.binomial(trials, most), mpmath.mpf(0), most
    while k <= trials and term > total * mpmath.mpf(10) ** -30:
        total += term
        term *= mpmath.mpf(trials - k) / (k + 1)
        k += 1
    p = min(mpmath.mpf(1), 2 * total / mpmath.mpf(2) ** trials)
    if trials <= 10_000:
        other = mcnemar([[0, b], [c, 0]], exact=True).pvalue
        assert abs(other - p) <= 1e-11 * p, (b, c)
    return float(p)


def adjusted():
    ps = [float(p) for p in [*rng.uniform(size=8) ** 3, 0.03, 0.03, 0.9]]
    return {"p": ps, **{name: list(multipletests(ps, method=method)[1])
                        for name, method in (("holm", "holm"), ("bh", "fdr_bh"))}}


def proportions():
    counts = [(0, 20), (1, 20), (13, 682), (199, 10_000), (500, 1000), (9_998, 10_000), (7, 7)]
    return [{"count": x, "samples": n, **{m: list(proportion_confint(x, n, method=m)) for m in ("wilson", "agresti_coull")}}
            for x, n in counts]


def quantile(values):
    correlation = np.corrcoef(values)
    root = np.linalg.svd(correlation)
    root = root.U * np.sqrt(root.S)
    largest = [np.abs(rng.standard_normal((400_000, len(values))) @ root.T).max(1) for _ in range(10)]
    return float(np.quantile(np.concatenate(largest), 0.95))


def curve():
    steps = rng.standard_normal((7, 60)).cumsum(0) + rng.gamma(0.5, 1.0, 60)
    rest = np.delete(steps - steps[2], 2, 0)
    return {"values": [list(row) for row in steps], "quantile": quantile(steps), "difference_quantile": quantile(rest)}


def residuals(matrix):
    k = len(matrix)
    pairs = list(itertools.combinations(range(k), 2))
    design = np.array([[1.0] + [float(m in pair) for m in range(k)] for pair in pairs])
    values = np.array([matrix[pair] for pair in pairs])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    full = np.full((k, k), np.nan)
    for pair, value in zip(pairs, rest):
        full[pair] = full[pair[::-1]] = value
    return full


def compared(x, y, kind):
    upper = np.triu_indices(len(x), 1)
    function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[kind]
    return function(x[upper], y[upper])[0]


def correlations(x, y):
    k, found = len(x), {}
    for effects, of in (("kept", lambda m: m), ("removed", residuals)):
        for kind in ("pearson", "spearman"):
            value = compared(of(x), of(y), kind)
            orders = [list(order) for order in itertools.permutations(range(k))]
            permuted = [compared(of(x), of(y)[np.ix_(order, order)], kind) for order in orders]
            p = np.mean(np.abs(permuted) >= abs(value) - 1e-12)
            rest = [[m for m in range(k) if m != left] for left in range(k)]
            zs = [np.arctanh(compared(of(x[np.ix_(r, r)]), of(y[np.ix_(r, r)]), kind)) for r in rest]
            half = stats.t.ppf(0.975, k - 1) * np.sqrt((k - 1) * np.var(zs))
            z = np.arctanh(value)
            found[f"{effects}_{kind}"] = {"value": value, "p": p, "low": np.tanh(z - half), "high": np.tanh(z + half)}
    return found


def mean_over_pairs(matrix, null):
    k = len(matrix)
    mean = lambda m: m[np.triu_indices(len(m), 1)].mean()
    left = [mean(np.delete(np.delete(matrix, i, 0), i, 1)) for i in range(k)]
    se = np.sqrt((k - 1) * np.var(left))
    value = mean(matrix)
    low, high = stats.t.interval(0.95, k - 1, value, se)
    p = 2 * stats.t.sf(abs(value - null) / se, k - 1)
    return {"value": value, "se": se, "low": low, "high": high, "p": p}


def pairs():
    k = 6
    models = rng.standard_normal((2, k))
    x, y = np.empty((k, k)), np.empty((k, k))
    for i, j in itertools.combinations(range(k), 2):
        own = rng.standard_normal()
        x[i, j] = x[j, i] = models[0, i] + models[0, j] + own
        y[i, j] = y[j, i] = models[1, i] + models[1, j] + own + 0.5 * rng.standard_normal()
    for m in (x, y):
        np.fill_diagonal(m, np.nan)
    points = [[i, j, x[i, j], y[i, j]] for i, j in itertools.combinations(range(k), 2)]
    return {"points": points, **correlations(x, y), "mean": mean_over_pairs(x, 0.0),
            "share": mean_over_pairs((x > 0).astype(float), 0.5)}


COUNTS = [(37, 28), (62, 33), (32, 77), (0, 0), (1, 0), (5, 5), (600, 400), (2000, 1400), (500, 100),
          (300_000, 299_000), (1_000_000, 990_000)]
print(json.dumps({
    "paired": paired(),
    "mcnemar": [{"only_first": b, "only_second": c, "p": exact_p(b, c)} for b, c in COUNTS],
    "adjusted": adjusted(),
    "proportions": proportions(),
    "curve": curve(),
    "pairs": pairs(),
}, indent=1, default=float))
