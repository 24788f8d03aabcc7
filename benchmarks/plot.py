"""Draw what ``growth`` measured: the cost of an event against the number of clients."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

from .growth import EVENTS, FILE, FLOOR, OURS
from .harness import ROOT

FOLDER = ROOT / "docs" / "_static" / "benchmarks"
INK, GREY, ACCENT = "#222222", "#8a8a8a", "#0b5fa5"
LINE_STYLES = {OURS: "-", FLOOR: ":"}


def draw(results: dict[str, dict[int, float]], folder: Path = FOLDER) -> None:
    """Write ``growth.svg`` and ``growth.png``."""
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "font.family": "sans-serif", "svg.hashsalt": "growth"})
    from matplotlib import pyplot as plt  # after its backend is chosen

    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for name, by_count in results.items():
        colour = {OURS: ACCENT, FLOOR: INK}.get(name, GREY)
        axes.plot(
            list(by_count),
            list(by_count.values()),
            LINE_STYLES.get(name, "-"),
            color=colour,
            linewidth=2.2 if name == OURS else 1.3,
            marker="o",
            markersize=4,
        )
    axes.set(xscale="log", yscale="log", xlabel="clients", xlim=(80, 90_000))
    axes.set_xticks(list(EVENTS), [f"{count:,}".replace(",", "\u202f") for count in EVENTS])
    lowest = min(min(by_count.values()) for by_count in results.values())
    highest = max(max(by_count.values()) for by_count in results.values())
    axes.set_ylim(lowest * 0.7, highest * 1.4)
    ticks = [tick for tick in (2, 5, 10, 20, 50, 100, 200, 500) if lowest * 0.7 <= tick <= highest * 1.4]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("CPU time per delivered event, in microseconds", loc="left", fontsize=10, color=INK)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    for name, (x, y, place) in places(results, lowest, highest).items():
        colour = {OURS: ACCENT, FLOOR: INK}.get(name, "#5f5f5f")
        weight = "bold" if name == OURS else "normal"
        above_grid = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(
            name, (x, y), (x * 1.12, place), va="center", color=colour, fontweight=weight, bbox=above_grid
        )
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "growth.svg", metadata={"Date": None})
    figure.savefig(folder / "growth.png", dpi=150)
    plt.close(figure)


def places(
    results: dict[str, dict[int, float]], lowest: float, highest: float
) -> dict[str, tuple[int, float, float]]:
    """Return for each label the end of its line, and the height where it meets no other label."""
    apart = (highest * 1.4 / (lowest * 0.7)) ** (1 / 19)  # a line of text on the logarithmic axis
    chosen: dict[str, tuple[int, float, float]] = {}
    below: dict[int, float] = {}
    for name, by_count in sorted(results.items(), key=lambda item: list(item[1].items())[-1]):
        x, y = list(by_count.items())[-1]
        below[x] = max(y, below.get(x, 0) * apart)
        chosen[name] = (x, y, below[x])
    return chosen


def main() -> None:
    """Draw the numbers of the last run."""
    read = json.loads(FILE.read_text())
    draw(
        {name: {int(count): cost for count, cost in by_count.items()} for name, by_count in read.items()},
        FOLDER,
    )


if __name__ == "__main__":
    main()
