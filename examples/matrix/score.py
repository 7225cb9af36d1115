"""Estimates pi by darts; a noisy hand misses."""

import argparse
import json
import os
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path, default=Path("out"))
args = parser.parse_args()

seed, suite = int(os.environ["RUNYARD_MATRIX_SEED"]), os.environ["RUNYARD_MATRIX_SUITE"]
dice = random.Random(seed)
noise = 0.05 if suite == "noisy" else 0.0
darts = 50_000
hits = sum(
    (dice.random() + dice.gauss(0, noise)) ** 2 + (dice.random() + dice.gauss(0, noise)) ** 2 <= 1
    for _ in range(darts)
)
estimate = 4 * hits / darts
print(f"seed {seed}, {suite}: {estimate:.4f}", flush=True)
if "RUNYARD_METRICS" in os.environ:
    with open(os.environ["RUNYARD_METRICS"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"pi": estimate}) + "\n")
args.out.mkdir(exist_ok=True)
(args.out / "score.json").write_text(json.dumps({"seed": seed, "suite": suite, "pi": estimate}))
