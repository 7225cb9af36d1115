"""Trains a classifier of wines."""

import argparse
import pickle
from pathlib import Path

import pandas as pd
from sklearn.ensemble import RandomForestClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="data/wine.csv")
parser.add_argument("--trees", type=int, default=50, help="trees of the forest")
parser.add_argument("--depth", type=int, default=4, help="the deepest that a tree may get")
parser.add_argument("--out", default="out")
args = parser.parse_args()

frame = pd.read_csv(args.data)
train = frame[frame.example_id % 2 == 0].drop(columns="example_id")
model = RandomForestClassifier(n_estimators=args.trees, max_depth=args.depth, random_state=7)
model.fit(train.drop(columns="target"), train.target)
Path(args.out).mkdir(exist_ok=True)
with open(Path(args.out) / "model.pkl", "wb") as file:
    pickle.dump(model, file)
print(f"trained on {len(train)} rows")
