"""Trains one of four classifiers of handwritten digits."""

import argparse
import itertools
import json
import os
import time
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC


def report(step: int, **metrics: float) -> None:
    """Writes a point of each metric to where Runyard looks for them, if it runs us."""
    path = os.environ.get("RUNYARD_METRICS")
    if not path:
        return
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **metrics}) + "\n")


def svc(c: float, gamma: float):
    return make_pipeline(MinMaxScaler(), SVC(C=c, gamma=gamma))


def search(pixels, labels):
    """A cross-validated search over the kernel's two parameters."""
    grid = list(itertools.product([0.1, 0.5, 1.0, 2.0, 5.0, 10.0], [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=7)
    best, best_score = None, -1.0
    begun = time.monotonic()
    for number, (c, gamma) in enumerate(grid, start=1):
        score = float(np.mean(cross_val_score(svc(c, gamma), pixels, labels, cv=folds)))
        if score > best_score:
            best, best_score = (c, gamma), score
        report(number, cv_accuracy=score, cv_best=best_score)
        print(
            f"candidate {number}/{len(grid)}: C={c:g} gamma={gamma:g} "
            f"accuracy {score:.4f}, best {best_score:.4f}, {time.monotonic() - begun:.1f} s",
            flush=True,
        )
    print(f"the best is C={best[0]:g} gamma={best[1]:g}", flush=True)
    return svc(*best).fit(pixels, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["logistic", "search", "starved", "svc"], default="logistic")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args()

    pixels = np.load(args.data / "train_pixels.npy")
    labels = np.load(args.data / "train_labels.npy")
    if args.model == "starved":
        pixels, labels = pixels[::50], labels[::50]
    print(f"training `{args.model}` on {len(labels)} examples", flush=True)
    if args.model == "search":
        model = search(pixels, labels)
    elif args.model == "svc":
        model = svc(4.0, 0.06).fit(pixels, labels)
    else:
        model = make_pipeline(MinMaxScaler(), LogisticRegression(C=20 / len(labels), max_iter=400))
        model.fit(pixels, labels)
    accuracy = float(model.score(pixels, labels))
    report(0, train_accuracy=accuracy)
    print(f"accuracy on the training half: {accuracy:.4f}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, args.out / "model.joblib")


if __name__ == "__main__":
    main()
