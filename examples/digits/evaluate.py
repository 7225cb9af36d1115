"""Judges a model example by example: one row each, so that two models can be compared in pairs."""

import argparse
import csv
from pathlib import Path

import joblib
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("out"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("rows.csv"))
    args = parser.parse_args()

    model = joblib.load(args.model / "model.joblib")
    ids = np.load(args.data / "test_ids.npy")
    truth = np.load(args.data / "test_labels.npy")
    answers = model.predict(np.load(args.data / "test_pixels.npy"))
    with args.out.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["example_id", "y_true", "y_pred", "correct"])
        for id_, y, answer in zip(ids, truth, answers):
            rows.writerow([int(id_), int(y), int(answer), int(y == answer)])
    print(f"{int((answers == truth).sum())} of {len(truth)} are right", flush=True)


if __name__ == "__main__":
    main()
