"""The plots of bench/compare, as SVG files: throughput, percentiles, CPU a message, memory over time."""
import statistics

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

COLOURS = {"apogee": "#1f6f8b", "apache": "#d1495b", "null": "#9a9a9a"}
LABELS = {"apogee": "Apogee", "apache": "Apache 5.5.0", "null": "null broker"}
PERCENTILES = ("p50", "p90", "p99", "p99.9", "p99.99", "max")


def values(raw, target, name):
    return [figures[name] for figures in raw["figures"][target] if name in figures]


def bars(raw, names, title, unit, path, logarithmic=False):
    """One group of bars a figure, one bar a broker; the whisker is the spread over the rounds."""
    figure, axes = plot.subplots(figsize=(9, 0.9 + 0.85 * len(names)))
    targets = list(raw["figures"])
    height = 0.8 / len(targets)
    for t, target in enumerate(targets):
        for n, name in enumerate(names):
            found = values(raw, target, name)
            if not found:
                continue
            middle = statistics.median(found)
            at = n + t * height
            axes.barh(at, middle, height * 0.92, color=COLOURS[target], label=LABELS[target] if n == 0 else None,
                      xerr=[[middle - min(found)], [max(found) - middle]], error_kw={"elinewidth": 0.8, "ecolor": "#444444"})
            axes.annotate(f" {middle:,.0f}" if middle >= 100 else f" {middle:.2g}", (max(found), at), va="center", fontsize=8)
    axes.set_yticks([n + height * (len(targets) - 1) / 2 for n in range(len(names))], names, fontsize=9)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="best")
    finish(figure, axes, path)


def finish(figure, axes, path):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if axes.get_xscale() == "log" or axes.patches else "y", alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plot.close(figure)


def growth(rows_of, name, path):
    """A small plot a figure of bench/scale's rows, over the number of units; a line a broker."""
    rows = next(iter(rows_of.values()))
    if len(rows) < 2:
        return
    units, *figures = rows[0]
    columns = 3
    lines = (len(figures) + columns - 1) // columns
    figure, grid = plot.subplots(lines, columns, figsize=(10, 2.3 * lines), squeeze=False)
    for axes in grid.flat[len(figures):]:
        axes.set_visible(False)
    for axes, each in zip(grid.flat, figures):
        for target, of_target in rows_of.items():
            axes.plot([row[units] for row in of_target], [row[each] for row in of_target], marker="o", markersize=3.5, color=COLOURS[target], label=LABELS[target])
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(each, loc="left", fontsize=9)
        axes.set_xlabel(units, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    if len(rows_of) > 1:
        grid.flat[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"How costs grow: {name}", x=0.01, ha="left", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plot.close(figure)


def tails(raw, load, title, path):
    """Latency by percentile, a line a broker."""
    figure, axes = plot.subplots(figsize=(8, 3.6))
    for target, rounds in raw["percentiles"].items():
        lines = [[tails[load][p] for p in PERCENTILES] for tails in rounds if load in tails]
        if not lines:
            continue
        middle = [max(statistics.median(column), 1) for column in zip(*lines)]
        axes.plot(PERCENTILES, middle, marker="o", color=COLOURS[target], label=LABELS[target])
        axes.fill_between(PERCENTILES, [max(min(c), 1) for c in zip(*lines)], [max(max(c), 1) for c in zip(*lines)], color=COLOURS[target], alpha=0.15)
    axes.set_yscale("log")
    axes.set_ylabel("us")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False)
    finish(figure, axes, path)


def memory(raw, path):
    figure, axes = plot.subplots(figsize=(8, 3.2))
    for target, samples in raw["memory"].items():
        if samples:
            axes.plot([at for at, _ in samples], [max(mib, 0.1) for _, mib in samples], color=COLOURS[target], label=LABELS[target])
    axes.set_yscale("log")
    axes.set_xlabel("seconds of load")
    axes.set_ylabel("anonymous memory, MiB")
    axes.set_title("Memory while all the loads run one after the other", loc="left", fontsize=11)
    axes.legend(frameon=False)
    finish(figure, axes, path)


def draw(raw, directory):
    directory.mkdir(parents=True, exist_ok=True)
    names = list(raw["figures"]["apogee"][0])
    bars(raw, [n for n in names if n.endswith("a second") or "sends a second" in n], "Throughput (more is better)", "a second", directory / "throughput.svg")
    bars(raw, [n for n in names if "CPU a message" in n], "Broker CPU a message (less is better)", "us", directory / "cpu.svg", logarithmic=True)
    tails(raw, "send -r 10000 -s 1024", "Latency of sends at a steady 10 000/s of 1 KiB", directory / "steady.svg")
    tails(raw, "send -c 1 -f 1 -s 128", "Latency with one request in flight", directory / "one.svg")
    tails(raw, "e2e -c 1 -r 1000 -s 1024", "From producer to consumer at 1 000/s", directory / "end-to-end.svg")
    memory(raw, directory / "memory.svg")
