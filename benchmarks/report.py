"""Tells what the results of bench.py mean: table, bars and pictures.

`report.py RESULTS.json` does it again for a run that is over.
"""

import collections
import json
import math
import pathlib
import re
import sys

import numpy as np

OURS = "ours"

# Passes, and how often each does the arithmetic and moves the bytes of one.
PASSES = {"forward": 1, "input_gradient": 1, "filter_gradient": 1, "gradients": 2}

# Classes of layers by channels per group, with the geometric mean of the ratios
# to the fastest peer that is wanted in float32, and in types of 16 bits: forward,
# both gradients.
CLASSES = [
    ("1 (depthwise)", range(1, 2), (1.15, 2.5), (1.0, 4.0)),
    ("2 to 4", range(2, 5), (2.5, 2.5), (2.0, 4.0)),
    ("5 to 8", range(5, 9), (1.8, 1.6), (1.3, 1.5)),
    ("9 and more", range(9, 1 << 30), (1.35, 1.4), (1.1, 1.2)),
]
# Share of the limit that 3x3 layers want in float32, geometric mean.
SHARES = {"forward": 0.50, "gradients": 0.45}

# Gain of 2 threads where arithmetic is the limit and a layer has this much of it.
ARITHMETIC_GAIN = 1.8
ARITHMETIC_FLOPS = 20e6
# Where memory is, the part of the copy bandwidth's gain.
MEMORY_GAIN = 0.9
# Against XLA, training step of the first layer of ResNeXt-50.
FIRST_LAYER = "mb8g32ic128oc128ih56kh3ph1"
XLA_RATIO = 50
# Time of 32 groups, part of the dense layer's.
DIVISOR_32 = 1 / 8


def bars(results, wanted, wanted_of_16_bits):
    """Returns what is wanted of a class, by pass."""
    return dict(zip(SHARES, wanted if dtype_of(results) == "float32" else wanted_of_16_bits))


def dtype_of(results):
    """Returns the type of the tensors, which earlier results do not name."""
    return results.get("dtype", "float32")


def peak_gflops(limits, dtype):
    """Of float16, sums are of float32, and so are the factors."""
    return max(
        gflops
        for unit, gflops in limits["gflops"].items()
        if dtype == "bfloat16" or "bfloat16" not in unit
    )


def arithmetic_seconds(results, row, limits):
    return row["flops"] / peak_gflops(limits, dtype_of(results)) * 1e-9


def memory_seconds(row, limits):
    """Each tensor once, at the bandwidth of a copy that touches as many bytes."""
    sizes, bandwidths = zip(*limits["copy"])
    bandwidth = np.interp(math.log(row["bytes"]), np.log(sizes), bandwidths)
    return PASSES[row["pass"]] * row["bytes"] / bandwidth * 1e-9


def limit_seconds(results, row):
    limits = results["limits"][str(row["threads"])]
    return max(arithmetic_seconds(results, row, limits), memory_seconds(row, limits))


def share_of_limit(results, row):
    return limit_seconds(results, row) / row["seconds"][OURS]


def fastest_peer(row):
    """Returns name and seconds, or (None, nan)."""
    peers = [(seconds, name) for name, seconds in row["seconds"].items() if name != OURS]
    return min(peers)[::-1] if peers else (None, float("nan"))


def ratio(row):
    """How many times as fast as the fastest peer ours is; nan if not both ran."""
    return fastest_peer(row)[1] / row["seconds"].get(OURS, float("nan"))


def geometric_mean(values):
    values = [value for value in values if not math.isnan(value)]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def print_header(results):
    machine = results["machine"]
    print(
        "TensorFlow %s, %s, on %s, %d cores, %s, %s"
        % (
            results["release"],
            dtype_of(results),
            machine["processor"],
            machine["cores"],
            describe_isa(results),
            machine["date"],
        )
    )
    print("Arguments: %s" % " ".join(results["arguments"]))
    if machine["load"] > 0.5:
        print("Others are using this machine (load %.1f): times will be noisy." % machine["load"])
    for threads, limits in results["limits"].items():
        print(
            "%s thread(s): %s, of which the limit is %.0f; copy %s GB/s"
            % (
                threads,
                ", ".join("%s: peak %.0f GFLOP/s" % item for item in limits["gflops"].items()),
                peak_gflops(limits, dtype_of(results)),
                ", ".join("%.0f (%d MiB)" % (b, size >> 20) for size, b in limits["copy"][::3]),
            )
        )
    for name, version in results["versions"].items():
        print("  %-20s %s" % (name, version))
    for name, reason in results["missing"].items():
        print("  %-20s MISSING: %s" % (name, reason))
    print(
        "\nMilliseconds, median; * the fastest peer, - not run (why is told at the end).\n"
        "%9s %-22s %3s %s %-15s %9s %7s %6s %6s"
        % ("", "layer", "N", "T", "pass", OURS, "GFLOP/s", "limit", "ratio")
        + "".join(" %11s" % name[:11] for name in peer_names(results))
    )


def describe_isa(results):
    if results["isa"] == "native":
        return "all instruction sets that it has"
    return "every process held to %s" % results["isa"].upper()


def peer_names(results):
    return [name for name in results["versions"] if name != OURS]


def print_row(results, row, index, count):
    name_of_fastest = fastest_peer(row)[0]
    cells = []
    for name in peer_names(results):
        seconds = row["seconds"].get(name)
        text = "-" if seconds is None else "%.3f" % (1e3 * seconds)
        cells.append(" %11s" % (text + ("*" if name == name_of_fastest else " ")))
    ours = row["seconds"].get(OURS, float("nan"))
    print(
        "[%3d/%3d] %-22s %3d %d %-15s %9.3f %7.1f %5.0f%% %5.2fx"
        % (
            index,
            count,
            row["layer"],
            row["batch"],
            row["threads"],
            row["pass"].replace("_", " "),
            1e3 * ours,
            row["flops"] / ours * 1e-9,
            100 * limit_seconds(results, row) / ours,
            ratio(row),
        )
        + "".join(cells),
        flush=True,
    )


def print_table(title, header, rows):
    """Prints a Markdown table."""
    cells = [header] + [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    cells.insert(1, ["-" * width for width in widths])
    print("\n%s\n" % title)
    for row in cells:
        print("| %s |" % " | ".join(cell.ljust(width) for cell, width in zip(row, widths)))


def verdict(value, bar):
    if math.isnan(value):
        return "not run"
    return "%.2f %s" % (value, "met" if value >= bar else "MISSED")


def print_summary(results):
    """Prints what was reached against what was wanted."""
    ours = [row for row in results["rows"] if OURS in row["seconds"]]
    against_peers = [row for row in ours if fastest_peer(row)[0]]
    all_threads = sorted({row["threads"] for row in ours})
    print_classes(results, against_peers, all_threads)
    print_slower(against_peers)
    print_gains(results, ours)
    print_divisors(ours)
    print_xla(against_peers)
    print_failures(results)


def print_classes(results, rows, all_threads):
    table = []
    for title, members, *wanted in CLASSES:
        line = [title]
        for pass_name, bar in bars(results, *wanted).items():
            line.append("%.2f" % bar)
            for threads in all_threads:
                ratios = [
                    ratio(row)
                    for row in rows
                    if row["channels_per_group"] in members
                    and (row["pass"], row["threads"]) == (pass_name, threads)
                ]
                line.append(verdict(geometric_mean(ratios), bar))
        table.append(line)
    line = ["3x3: share of limit"]
    for pass_name, bar in SHARES.items():
        line.append("%.2f" % bar)
        for threads in all_threads:
            shares = [
                share_of_limit(results, row)
                for row in rows
                if set(row["filter"]) == {3}
                and len(row["filter"]) == 2
                and (row["pass"], row["threads"]) == (pass_name, threads)
            ]
            line.append(verdict(geometric_mean(shares), bar))
    if dtype_of(results) == "float32":
        table.append(line)
    header = ["channels per group"]
    for pass_name in SHARES:
        header.append(pass_name + ": wanted")
        header += ["%d thread(s)" % threads for threads in all_threads]
    print_table("Ratio to the fastest peer of each layer, geometric mean", header, table)


def print_slower(rows):
    slower = sorted((row for row in rows if ratio(row) < 1 and row["pass"] in SHARES), key=ratio)
    print_table(
        "Layers slower than the fastest peer: %d of %d"
        % (len(slower), sum(row["pass"] in SHARES for row in rows)),
        ["layer", "batch", "threads", "pass", "ratio", "fastest peer"],
        [
            [row["layer"], row["batch"], row["threads"], row["pass"]]
            + ["%.2f" % ratio(row), fastest_peer(row)[0]]
            for row in slower
        ],
    )


def print_gains(results, rows):
    """What the second thread gains."""
    if not {"1", "2"} <= results["limits"].keys():
        return
    one, two = results["limits"]["1"], results["limits"]["2"]
    by_key = {(row["problem"], row["pass"], row["threads"]): row for row in rows}
    gains = collections.defaultdict(list)
    missed = []
    for (problem, pass_name, threads), row in by_key.items():
        single = by_key.get((problem, pass_name, 1))
        if threads != 2 or single is None:
            continue
        if arithmetic_seconds(results, row, two) < memory_seconds(row, two):
            kind = "memory"
            wanted = MEMORY_GAIN * memory_seconds(row, one) / memory_seconds(row, two)
        elif row["flops"] >= ARITHMETIC_FLOPS:
            kind, wanted = "arithmetic", ARITHMETIC_GAIN
        else:
            continue
        gain = single["seconds"][OURS] / row["seconds"][OURS]
        gains[kind].append(gain)
        if gain < wanted:
            missed.append((gain / wanted, row, kind, gain, wanted))
    missed.sort(key=lambda item: item[0])
    print_table(
        "2 threads against 1: %s; %d missed, the worst:"
        % (
            ", ".join(
                "%.2f where %s limits (%d)" % (geometric_mean(values), kind, len(values))
                for kind, values in sorted(gains.items())
            ),
            len(missed),
        ),
        ["layer", "batch", "pass", "limit", "gain", "wanted"],
        [
            [row["layer"], row["batch"], row["pass"], kind, "%.2f" % gain, "%.2f" % wanted]
            for _, row, kind, gain, wanted in missed[:10]
        ],
    )


def print_divisors(rows):
    """What groups cost, against the dense layer of the same size."""
    rows = [row for row in rows if row["layer"].startswith("divisor/")]
    dense = {(row["pass"], row["threads"]): row for row in rows if row["groups"] == 1}
    table = collections.defaultdict(dict)
    for row in rows:
        key = row["pass"], row["threads"]
        if key in dense:
            part = row["seconds"][OURS] / dense[key]["seconds"][OURS]
            wanted = DIVISOR_32 if row["groups"] == 32 else 1
            table[key][row["groups"]] = "%.3f%s" % (part, "" if part <= wanted else " MISSED")
    if table:
        groups = sorted({row["groups"] for row in rows})
        print_table(
            "Time for 8x28x28x256 -> 256, 3x3, by groups, as a part of the dense layer's"
            " (wanted: at most 1; at 32 groups 1/8)",
            ["pass, threads"] + ["%d" % count for count in groups],
            [
                ["%s, %d" % key] + [parts.get(count, "-") for count in groups]
                for key, parts in table.items()
            ],
        )


def print_xla(rows):
    """The workaround: a training step of the first layer."""
    steps = collections.defaultdict(list)
    for row in rows:
        if row["problem"] == FIRST_LAYER and row["pass"] in SHARES:
            steps[row["threads"]].append(row)
    for threads, step in sorted(steps.items()):
        for name in step[0]["seconds"]:
            if name.endswith("XLA") and all(name in row["seconds"] for row in step):
                xla, ours = (sum(row["seconds"][who] for row in step) for who in (name, OURS))
                print(
                    "\nA training step of %s, batch 8, %d thread(s), against %s: %s (wanted: %d)"
                    % (step[0]["layer"], threads, name, verdict(xla / ours, XLA_RATIO), XLA_RATIO)
                )


def print_failures(results):
    # Messages that differ in their numbers alone are one; the first is shown.
    reasons, counts = {}, collections.Counter()
    for row in results["rows"]:
        for name, reason in row["failures"].items():
            key = name, re.sub("[0-9]+", "0", reason)[:60]
            reasons.setdefault(key, reason[:100])
            counts[key] += 1
    table = [[name, reason, "all"] for name, reason in results["missing"].items()]
    table += [[key[0], reasons[key], counts[key]] for key in sorted(reasons)]
    print_table(
        "What did not run", ["peer or layer", "why", "rows of %d" % len(results["rows"])], table
    )


# Peers in the picture, told apart without colours too.
MARKS = list(
    zip("osD^vPX*", ["#d55e00", "#b8860b", "#007a5a", "#a3005c", "#333333", "#777777"] * 2)
)


def draw(results, directory):
    """Writes results.png: batch 8 (or the largest), all threads, to be 800 pixels wide."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in results["rows"] if OURS in row["seconds"] and fastest_peer(row)[0]]
    batches = {row["batch"] for row in rows}
    batch = 8 if 8 in batches else max(batches, default=0)
    threads = max(map(int, results["limits"]))
    rows = [
        row
        for row in rows
        if (row["batch"], row["threads"]) == (batch, threads) and row["pass"] in SHARES
    ]
    if not rows:
        return

    # Titles and layers from top to bottom, from few channels per group to many.
    lines = []
    for title, members, *_ in CLASSES:
        layers = {
            (row["channels_per_group"], row["layer"])
            for row in rows
            if row["channels_per_group"] in members
        }
        if layers:
            lines += [title] + [layer for _, layer in sorted(layers)]
    places = {line: place for place, line in enumerate(lines)}

    pyplot.rcParams.update({"font.size": 8})
    height = 1.6 + 0.17 * len(lines)
    figure, panels = pyplot.subplots(1, 2, sharey=True, figsize=(9, height), layout="constrained")
    for panel, pass_name in zip(panels, SHARES):
        draw_panel(panel, results, [row for row in rows if row["pass"] == pass_name], places)
    panels[0].set_yticks(range(len(lines)))
    panels[0].set_yticklabels(lines)
    for label in panels[0].get_yticklabels():
        if "/" not in label.get_text():
            label.set_weight("bold")
    panels[0].text(-0.02, -0.8, "Layers by\nchannels per group", ha="right", va="bottom")
    panels[0].set_ylim(len(lines) - 0.3, -0.7)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=5, frameon=False)
    # Room for the legend, which the layout does not know.
    legend = 0.5 / height
    figure.get_layout_engine().set(rect=(0, legend, 1, 1 - legend))
    figure.suptitle(
        "Grouped convolution in TensorFlow %s, %s, batch %d, %d thread(s)\n%s, %s"
        % (
            results["release"],
            dtype_of(results),
            batch,
            threads,
            results["machine"]["processor"],
            describe_isa(results),
        ),
        fontsize=9,
    )
    path = pathlib.Path(directory) / "results.png"
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
    print("Picture: %s" % path)


def draw_panel(panel, results, rows, places):
    """Draws one pass: shares of the limit as bars and marks, and two columns of numbers."""
    speed, against = 1.27, 1.62
    pass_name = rows[0]["pass"] if rows else ""
    lines = [places[row["layer"]] for row in rows]
    panel.barh(lines, [1] * len(rows), color="#eeeeee", label="limit of the machine")
    shares = [min(share_of_limit(results, row), 1.05) for row in rows]
    panel.barh(lines, shares, color="#8fc1e3", label=OURS)
    for name, (mark, color) in zip(peer_names(results), MARKS):
        mine = [row for row in rows if name in row["seconds"]]
        panel.plot(
            [min(limit_seconds(results, row) / row["seconds"][name], 1.05) for row in mine],
            [places[row["layer"]] for row in mine],
            mark,
            color=color,
            markeredgecolor="white",
            markeredgewidth=0.4,
            markersize=4.5,
            label=name,
        )
    for row in rows:
        line = places[row["layer"]]
        gflops = row["flops"] / row["seconds"][OURS] * 1e-9
        color = "#00692b" if ratio(row) >= 1 else "#b30000"
        panel.text(speed, line, "%.0f" % gflops, ha="right", va="center")
        panel.text(against, line, "%.2f×" % ratio(row), ha="right", va="center", color=color)
    for title, members, *wanted in CLASSES:
        ratios = [ratio(row) for row in rows if row["channels_per_group"] in members]
        if ratios:
            bar = bars(results, *wanted)[pass_name]
            text = "geometric mean %.2f×, wanted %.2f×" % (geometric_mean(ratios), bar)
            panel.text(against, places[title], text, ha="right", va="center", weight="bold")
    panel.axvline(SHARES.get(pass_name, 0), color="black", lw=0.8, ls=":")
    panel.text(speed, -0.8, "GFLOP/s", ha="right", va="bottom")
    panel.text(against, -0.8, "to the\nfastest peer", ha="right", va="bottom")
    panel.set_xlim(0, against)
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
    panel.set_xticklabels(["0", "25", "50", "75", "100 %"])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    what = "both gradients" if pass_name == "gradients" else pass_name
    panel.set_title(
        "%s: share of the limit\n(dotted: wanted of 3×3)" % what.capitalize(),
        fontsize=8,
        loc="left",
    )


def main():
    path = pathlib.Path(sys.argv[1])
    results = json.loads(path.read_text())
    print_header(results)
    for row in results["rows"]:
        print_row(results, row, 0, 0)
    print_summary(results)
    draw(results, path.parent)


if __name__ == "__main__":
    main()
