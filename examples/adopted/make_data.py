"""Makes the data set that this repository's git ignores: wine, in a CSV file."""

from pathlib import Path

from sklearn.datasets import load_wine


def main() -> None:
    frame = load_wine(as_frame=True).frame
    frame.insert(0, "example_id", range(len(frame)))
    Path("data").mkdir(exist_ok=True)
    frame.to_csv("data/wine.csv", index=False)
    print(f"data/wine.csv: {len(frame)} rows")


if __name__ == "__main__":
    main()
