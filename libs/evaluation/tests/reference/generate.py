"""Reference values for the tests of this crate.

    python3 -m venv venv && venv/bin/pip install scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python generate.py > reference.json

Every case carries its inputs. Bootstrap cases carry the matrix of resample indices, so that no
random generator is involved in the comparison.
"""

import json

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

rng = np.random.default_rng(20240501)
TAILS = [0.05, 0.025, 0.005]


def proportions():
    out = []
    for x, n in [(0, 1), (1, 1), (0, 30), (30, 30), (3, 7), (855, 899), (899, 899), (12, 5000), (99_990, 100_000)]:
        for tail in TAILS:
            case = {"x": x, "n": n, "tail": tail}
            for ours, theirs in [("wilson", "wilson"), ("clopper_pearson", "beta")]:
                case[ours] = [float(v) for v in proportion_confint(x, n, alpha=2 * tail, method=theirs)]
            out.append(case)
    return out


def newcombe(a, b, c, d, tail):
    """Method 10 of Newcombe (1998), for (a+b)/n - (a+c)/n, on statsmodels' Wilson limits."""
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    l1, u1 = proportion_confint(a + b, n, alpha=2 * tail, method="wilson")
    l2, u2 = proportion_confint(a + c, n, alpha=2 * tail, method="wilson")
    rows = (a + b) * (c + d) * (a + c) * (b + d)
    numerator = a * d - b * c
    if numerator > 0:
        numerator = max(numerator - n / 2, 0)
    phi = 0 if rows == 0 else numerator / np.sqrt(rows)
    down = np.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    up = np.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return [float(p1 - p2 - down), float(p1 - p2 + up)]


def agresti_min(a, b, c, d, tail):
    n, b, c = a + b + c + d + 2, b + 0.5, c + 0.5
    difference = (b - c) / n
    half = stats.norm.isf(tail) * np.sqrt((b + c) - (b - c) ** 2 / n) / n
    return [float(max(difference - half, -1)), float(min(difference + half, 1))]


def paired():
    out = []
    tables = [(36, 12, 2, 0), (850, 9, 21, 19), (850, 21, 9, 19), (40, 0, 0, 0), (0, 0, 0, 9), (20, 5, 5, 20),
              (1, 7, 1, 1), (0, 10, 0, 0), (760, 12, 95, 32), (4000, 300, 350, 350)]
    for a, b, c, d in tables:
        table = [[a, b], [c, d]]
        exact = float(mcnemar(table, exact=True).pvalue) if b + c else 1.0
        k, total = min(b, c), b + c
        mid = 2 * stats.binom.cdf(k, total, 0.5) - stats.binom.pmf(k, total, 0.5)
        if b == c:
            mid = 1 - 0.5 * stats.binom.pmf(k, total, 0.5)
        case = {"table": [a, b, c, d], "exact": exact, "mid_p": float(mid) if total else 1.0, "intervals": []}
        for tail in TAILS:
            case["intervals"].append(
                {"tail": tail, "newcombe": newcombe(a, b, c, d, tail), "agresti_min": agresti_min(a, b, c, d, tail)})
        out.append(case)
    return out


def t_tests():
    out = []
    for n, scale in [(2, 1.0), (5, 1e-3), (40, 1.0), (300, 1e4)]:
        x, y = rng.normal(0.3, 1, n) * scale, rng.normal(0, 1, n) * scale
        result = stats.ttest_rel(x, y)
        case = {"x": x.tolist(), "y": y.tolist(), "t": float(result.statistic), "p": float(result.pvalue),
                "skewness": float(stats.skew(x - y)), "intervals": []}
        for tail in TAILS:
            ci = result.confidence_interval(1 - 2 * tail)
            case["intervals"].append({"tail": tail, "interval": [float(ci.low), float(ci.high)]})
        out.append(case)
    return out


def bootstraps():
    out = []
    for n, replicates, draw in [(25, 400, rng.exponential), (60, 999, rng.normal), (12, 300, rng.lognormal)]:
        x = draw(size=n)
        indices = rng.integers(0, n, (replicates, n))
        case = {"x": x.tolist(), "indices": indices.tolist(), "intervals": []}
        for tail in [0.05, 0.025]:
            entry = {"tail": tail}
            for method in ["BCa", "percentile"]:
                fixed = Fixed(indices)
                ci = stats.bootstrap((x,), np.mean, n_resamples=replicates, confidence_level=1 - 2 * tail,
                                     method=method, rng=fixed, vectorized=True).confidence_interval
                entry[method.lower()] = [float(ci.low), float(ci.high)]
            case["intervals"].append(entry)
        out.append(case)
    return out


class Fixed(np.random.Generator):
    """A generator whose integers are the given matrix."""

    def __init__(self, indices):
        super().__init__(np.random.PCG64(0))
        self.indices = indices

    def integers(self, *args, **kwargs):
        return self.indices


def sign_flips():
    out = []
    for n in [3, 8, 12]:
        d = np.round(rng.normal(0.4, 1, n), 2)
        result = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
        out.append({"d": d.tolist(), "p": float(result.pvalue)})
    return out


def multiplicity():
    out = []
    for p in [[0.01], [0.04, 0.01, 0.03, 0.005, 0.55], [0.5, 0.5, 0.5], rng.uniform(0, 0.2, 12).tolist()]:
        out.append({"p": p, "holm": multipletests(p, method="holm")[1].tolist(),
                    "bh": multipletests(p, method="fdr_bh")[1].tolist()})
    return out


def clusters():
    out = []
    for groups, size in [(6, 5), (50, 4), (2, 10)]:
        g = np.repeat(np.arange(groups), size)
        x = rng.normal(0, 1, groups)[g] + rng.normal(0.2, 0.5, groups * size)
        n = len(x)
        fit = sm.OLS(x, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": g, "use_correction": False})
        se = float(fit.bse[0]) * np.sqrt(groups / (groups - 1))
        case = {"x": x.tolist(), "groups": g.tolist(), "clusters": groups, "mean": float(fit.params[0]),
                "se": float(se), "intervals": []}
        for tail in TAILS:
            q = stats.t.isf(tail, groups - 1) if groups < 40 else stats.norm.isf(tail)
            case["intervals"].append({"tail": tail, "interval": [case["mean"] - q * se, case["mean"] + q * se]})
        out.append(case)
    return out


def quantiles():
    out = []
    for n, q in [(10, 0.5), (200, 0.95), (1000, 0.99), (59, 0.95)]:
        x = rng.gamma(2, 10, n)
        ranks = []
        for tail in [0.05, 0.025]:
            cdf = stats.binom.cdf(np.arange(0, n + 1), n, q)
            upper = int(np.argmax(cdf[:n + 1] >= 1 - tail))  # k - 1
            lower = int(np.argmax(cdf > tail)) - 1  # the largest k - 1 with cdf <= tail
            ordered = np.sort(x)
            ranks.append({"tail": tail, "low": float(ordered[lower]) if lower >= 0 else None,
                          "high": float(ordered[upper]) if upper < n else None})
        out.append({"x": x.tolist(), "q": q, "value": float(np.quantile(x, q)), "intervals": ranks})
    return out


def distribution_quantiles():
    return {
        "normal": [[tail, float(stats.norm.isf(tail))] for tail in [1e-9, 1e-4, 0.005, 0.05, 0.2, 0.5, 0.9]],
        "student": [[tail, df, float(stats.t.isf(tail, df))]
                    for tail in [1e-6, 0.005, 0.05, 0.2, 0.5, 0.8] for df in [1, 2, 4.5, 29, 898, 1e5]],
    }


def beta_tails():
    """ln of the integral of p^(a-1) (1-p)^(b-1) over (x, 1), for the error watch."""
    out = []
    for a, b, x in [(1, 1, 0.2), (3, 8, 0.1), (30, 15, 0.2), (2, 200, 0.05), (40, 400, 0.12), (300, 20, 0.5)]:
        from scipy.special import betaln
        out.append({"a": a, "b": b, "x": x, "ln": float(betaln(a, b) + stats.beta.logsf(x, a, b))})
    return out


print(json.dumps({
    "versions": {"scipy": scipy.__version__, "statsmodels": statsmodels.__version__, "numpy": np.__version__},
    "proportions": proportions(), "paired": paired(), "t_tests": t_tests(), "bootstraps": bootstraps(),
    "sign_flips": sign_flips(), "multiplicity": multiplicity(), "clusters": clusters(), "quantiles": quantiles(),
    "distribution_quantiles": distribution_quantiles(), "beta_tails": beta_tails(),
}))
