"""Splits scikit-learn's digits into two halves: one to train on, one to be judged by."""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data"))
    args = parser.parse_args()

    digits = load_digits()
    ids = np.arange(len(digits.target))
    train, test = train_test_split(ids, test_size=0.5, random_state=7, stratify=digits.target)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", np.sort(train)), ("test", np.sort(test))):
        # Plain .npy files, so that equal content gives equal bytes and nothing runs anew.
        np.save(args.out / f"{name}_ids.npy", part)
        np.save(args.out / f"{name}_pixels.npy", digits.data[part].astype(np.float32))
        np.save(args.out / f"{name}_labels.npy", digits.target[part].astype(np.int64))
        print(f"{name}: {len(part)} examples", flush=True)


if __name__ == "__main__":
    main()
