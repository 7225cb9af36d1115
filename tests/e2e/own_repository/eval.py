"""Judges a model on the patients that it has not seen."""

import argparse
import pathlib

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="out")
    parser.add_argument("--data", default="data")
    args = parser.parse_args()
    x, y = load_breast_cancer(return_X_y=True)
    with open(pathlib.Path(args.data) / "readings.csv") as file:
        file.readline()
        extra = [[float(cell) for cell in file.readline().split(",")[1:]] for _ in range(len(x))]
    x = np.hstack([x, np.array(extra)])
    ids = np.flatnonzero(np.arange(len(x)) % 2 == 1)
    model = joblib.load(pathlib.Path(args.model) / "model.joblib")
    predicted = model.predict(x[ids])
    print(f"accuracy {np.mean(predicted == y[ids]):.4f} of {len(ids)} patients")


if __name__ == "__main__":
    main()
