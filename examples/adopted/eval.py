"""Judges a classifier of wines on the other half."""

import argparse
import pickle
from pathlib import Path

import pandas as pd

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="data/wine.csv")
parser.add_argument("--model", default="out")
parser.add_argument("--rows", default="rows.csv")
args = parser.parse_args()

frame = pd.read_csv(args.data)
test = frame[frame.example_id % 2 == 1]
with open(Path(args.model) / "model.pkl", "rb") as file:
    model = pickle.load(file)
answers = model.predict(test.drop(columns=["example_id", "target"]))
print(f"accuracy {(answers == test.target).mean():.4f}")

# The three lines: one row per example, with its id.
rows = pd.DataFrame({"example_id": test.example_id, "y_true": test.target, "y_pred": answers})
rows["correct"] = (rows.y_true == rows.y_pred).astype(int)
rows.to_csv(args.rows, index=False)
