"""Prints what all tasks of the matrix found."""

import json
import sys
from pathlib import Path

for path in sorted(Path(sys.argv[1]).rglob("score.json")):
    score = json.loads(path.read_text())
    print(f"{score['seed']}  {score['suite']:6}  {score['pi']:.4f}")
