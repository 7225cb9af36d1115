"""Trains a classifier of breast tumours on the measurements and on the clinic's own readings."""

import argparse
import hashlib
import json
import pathlib
import sys

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier


def readings(path, rows):
    """The first readings, one row a patient; the whole file is read, to be sure that it is whole."""
    digest, lines, first = hashlib.sha256(), 0, []
    with open(path, "rb") as file:
        header = file.readline()
        digest.update(header)
        for line in file:
            digest.update(line)
            if lines < rows:
                first.append([float(cell) for cell in line.split(b",")[1:]])
            lines += 1
    print(f"readings: {lines} rows, sha256 {digest.hexdigest()}", flush=True)
    return np.array(first)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="data", help="folder with readings.csv")
    parser.add_argument("--trees", type=int, default=30)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--out", default="out")
    args = parser.parse_args()
    if args.trees < 1:
        print(f"a forest of {args.trees} trees is none", file=sys.stderr)
        sys.exit(3)
    x, y = load_breast_cancer(return_X_y=True)
    extra = readings(pathlib.Path(args.data) / "readings.csv", len(x))
    x = np.hstack([x, extra])
    train = np.arange(len(x)) % 2 == 0
    model = RandomForestClassifier(n_estimators=args.trees, max_depth=args.depth, random_state=0)
    model.fit(x[train], y[train])
    out = pathlib.Path(args.out)
    out.mkdir(exist_ok=True)
    joblib.dump(model, out / "model.joblib")
    (out / "about.json").write_text(json.dumps(vars(args)))
    print(f"trained on {int(train.sum())} patients")


if __name__ == "__main__":
    main()
