# SPDX-License-Identifier: Apache-2.0
"""The results as a Markdown table, as JSON and as an SVG plot."""
import json
import re
import statistics

WIDTH, LINE, LEFT, RIGHT = 760, 19, 250, 90


def median(values):
    return statistics.median(values)


def quantile(values, q):
    s = sorted(values)
    return s[min(len(s) - 1, int(q * len(s)))]


def ratio(a, b):
    """a's median over b's, and how far it may be off: the same for halves of the runs taken in turn."""
    parts = []
    for k in range(4):
        x, y = a[k::4], b[k::4]
        if x and y:
            parts.append(median(x) / median(y))
    return median(a) / median(b), min(parts), max(parts)


def number(v):
    if v == 0:
        return "0"
    if abs(v) < 0.01:
        return f"{v:.4f}"
    return f"{v:.2f}" if abs(v) < 10 else f"{v:.1f}" if abs(v) < 100 else f"{v:.0f}"


def is_rate(row):
    return row.endswith("MiB/s")


def unit(row, v):
    """Samples are nanoseconds unless their row says what else."""
    return v if is_rate(row) or row.endswith("GiB, s") else v / 1e6


# How many times runc 1.5.1 under the Go shim 2.3.4 took what the same calls made by hand did, elsewhere: a floor that is far from that is none.
BY_HAND = {"pod ready": 35, "exec of true": 30}
# What the README shows of it.
README_ROWS = ("pod ready", "pod ready, filter cache cold", "container 2 of a pod", "exec of true", "kill to Wait", "Delete", "Shutdown until gone",
               "stdout to a FIFO, MiB/s", "stdout by a terminal, MiB/s", "stdout to binary://, MiB/s", "stdout to file://, MiB/s")
FULL = "contrib/docs/benchmark.md"


def sample_table(samples, names):
    head = ["ms, median (p99)"] + [names[n] for n in names] + ["husk to the floor", "runc to husk"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, by in samples.items():
        cells = [row]
        for n in names:
            v = by.get(n)
            cells.append(f"{number(unit(row, median(v)))} ({number(unit(row, quantile(v, 0.99)))})" if v else "")
        for top, bottom in (("husk", "floor"), ("runc", "husk")):
            if top in by and bottom in by and median(by[bottom]) > 0:
                r, low, high = ratio(by[top], by[bottom])
                cells.append(f"{number(r)} ({number(low)}-{number(high)})")
            else:
                cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def figure_table(figures, names):
    lines = ["| | " + " | ".join(names.values()) + " |", "|" + "---|" * (len(names) + 1)]
    for row, by in figures.items():
        lines.append(f"| {row} | " + " | ".join(number(by[n]) if n in by else "" for n in names) + " |")
    return lines


def heading(result):
    return [f"Measured by `./contrib/bench.sh{result['options']}` on {result['date']}, revision {result['revision']}: {result['machine']}.", ""]


def aims_table(aims):
    return ["| aim | measured | |", "|---|---|---|"] + [f"| {text} | {value} | {'yes' if met else 'no'} |" for text, value, met in aims]


def markdown(result):
    """All of it."""
    names = result["names"]
    lines = heading(result) + sample_table(result["samples"], names) + [""] + figure_table(result["figures"], names) + [""] + aims_table(result["aims"])
    return "\n".join(lines) + "\n"


def summary(result):
    """What the README has of it: the aims, and the rows that people compare."""
    rows = {row: result["samples"][row] for row in README_ROWS if row in result["samples"]}
    lines = heading(result) + aims_table(result["aims"]) + [""] + sample_table(rows, result["names"])
    lines += ["", f"All rows: [{FULL.rsplit('/', 1)[1]}]({FULL}): memory at 1 to 500 pods, pods at once, growth, through containerd."]
    return "\n".join(lines) + "\n"


class Aims:
    """The figures husk promises, judged on this run. Each is a text, what was measured, and whether it holds."""

    def __init__(self, samples, figures, names):
        self.samples, self.figures, self.names, self.lines = samples, figures, names, []

    def at_most(self, text, value, limit):
        if value is not None:
            self.lines.append((text, number(value), value <= limit))

    def at_least(self, text, value, limit):
        if value is not None:
            self.lines.append((text, number(value), value >= limit))

    def ratio(self, row, top, bottom, bottom_row=None):
        a, b = self.samples.get(row, {}).get(top), self.samples.get(bottom_row or row, {}).get(bottom)
        return median(a) / median(b) if a and b else None

    def ms(self, row):
        v = self.samples.get(row, {}).get("husk")
        return median(v) / 1e6 if v else None

    def of(self, row, who="husk"):
        return self.figures.get(row, {}).get(who)

    def worst(self, pattern):
        found = [by["husk"] for row, by in self.figures.items() if re.fullmatch(pattern, row) and "husk" in by]
        return max(found) if found else None

    def judge(self):
        self.at_most("pod ready: at most 2.5 times the floor's pod", self.ratio("pod ready", "husk", "floor"), 2.5)
        cgroups = self.samples.get("cgroup made and entered, no runtime", {}).get("floor")
        husk, floor = self.samples.get("pod ready", {}).get("husk"), self.samples.get("pod ready", {}).get("floor")
        if cgroups and husk and floor:
            self.at_most("the same against the floor's pod with its cgroups made and entered", median(husk) / (median(floor) + median(cgroups)), 2.5)
        for who in ("runc-new", "runc"):
            if who in self.names:
                self.at_least(f"pod ready: 12 times faster than {self.names[who]}", self.ratio("pod ready", who, "husk"), 12)
        self.at_most("exec of true: at most 1.8 times the floor's", self.ratio("exec of true", "husk", "floor"), 1.8)
        self.at_least("exec of true: 15 times faster than runc's", self.ratio("exec of true", "runc", "husk"), 15)
        cpu = self.figures.get("CPU of an exec of true, ms", {})
        if cpu.get("husk") and cpu.get("runc"):
            self.at_least("CPU of an exec: runc's is 20 times as much", cpu["runc"] / cpu["husk"], 20)
        for row, by_hand in BY_HAND.items():
            for runc in ("runc-new", "runc"):
                ratio_ = self.ratio(row, runc, "floor")
                if ratio_:
                    self.lines.append((f"the floor itself, {row}: runc's is {by_hand} times as much, within 1.5", number(ratio_), by_hand / 1.5 <= ratio_ <= by_hand * 1.5))
                    break
        self.at_most("kill to Wait: 1 ms", self.ms("kill to Wait"), 1)
        self.at_most("Delete: 2 ms", self.ms("Delete"), 2)
        self.at_most("Shutdown until gone: 10 ms", self.ms("Shutdown until gone"), 10)
        self.at_most("anonymous memory of a pod, 100 alive: 150 KiB", self.of("memory, 100 pods: anonymous"), 150)
        self.at_most("of each further container: 8 KiB", self.of("anonymous KiB of each further container"), 8)
        self.at_most("more after all those execs: 16 KiB", self.worst(r"anonymous KiB more after \d+ execs"), 16)
        self.at_most("threads: 1", self.worst(r"memory, \d+ pods: threads"), 1)
        self.at_most("fds: 24", self.worst(r"memory, \d+ pods: fds"), 24)
        self.at_most("fds of each further container: 10", self.of("fds of each further container"), 10)
        self.at_most("inotify instances: 0", self.of("inotify instances"), 0)
        self.at_least("stdout through a FIFO: 0.95 of what it is without a shim", self.ratio("stdout to a FIFO, MiB/s", "husk", "floor"), 0.95)
        v = self.samples.get("stdout to a FIFO, shim's CPU a GiB, s", {}).get("husk")
        self.at_most("shim's CPU for that: 0.02 s a GiB", median(v) if v else None, 0.02)
        for how in ("by a terminal", "to binary://", "to file://"):
            self.at_least(f"stdout {how}: 1.5 times the Go shim's throughput", self.ratio(f"stdout {how}, MiB/s", "husk", "runc"), 1.5)
        self.at_least("stdout to binary://: 0.95 of the same pipe without a shim", self.ratio("stdout to binary://, MiB/s", "husk", "floor"), 0.95)
        for row, by in self.figures.items():
            m = re.fullmatch(r"the last of (\d+) pods against the first, (given|new) network namespaces?", row)
            if m and m[2] == "given":
                self.at_most(f"{row}: 1.2", by.get("husk"), 1.2)
                if by.get("floor") and by.get("husk"):
                    self.at_most(f"{row}: 1.2 times what the floor's pod takes more beside {m[1]}", by["husk"] / by["floor"], 1.2)
            elif m and by.get("husk") and by.get("floor"):
                self.at_most(f"{row}: 1.2 times the floor's own", by["husk"] / by["floor"], 1.2)
        self.at_most("wake-ups of an idle pod: 0", self.worst(r"wake-ups of an idle pod in \d+ s"), 0)
        return self.lines


def svg(result):
    """Bars of the medians on a logarithmic scale; one group a row."""
    import math
    rows = [r for r in ("pod ready", "container 2 of a pod", "exec of true", "Stats", "kill to Wait", "Delete", "Shutdown until gone")
            if r in result["samples"]]
    colours = {"husk": "#2a7f62", "floor": "#9aa0a6", "runc": "#c0504d", "runc-new": "#e0a03c", "rust": "#7a5ea8", "crun": "#3f7fbf"}
    names = result["names"]
    bars = [(row, n, median(result["samples"][row][n]) / 1e6) for row in rows for n in names if n in result["samples"][row]]
    if not bars:
        return ""
    low, high = min(v for _, _, v in bars), max(v for _, _, v in bars)
    low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))

    def x(v):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(v / low) / math.log10(high / low))
    out, y, last = [], 34, None
    for row, n, v in bars:
        if row != last:
            y += 10 if last else 0
            out.append(f'<text x="8" y="{y + 13}" font-weight="bold">{row}</text>')
            last = row
        out.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" fill="#555">{names[n]}</text>')
        out.append(f'<rect x="{LEFT}" y="{y + 2}" width="{max(1.0, x(v) - LEFT):.1f}" height="{LINE - 5}" fill="{colours.get(n, "#888")}"/>')
        out.append(f'<text x="{x(v) + 5:.1f}" y="{y + 13}">{number(v)} ms</text>')
        y += LINE
    grid, v = [], low
    while v <= high * 1.001:
        grid.append(f'<line x1="{x(v):.1f}" y1="26" x2="{x(v):.1f}" y2="{y + 4}" stroke="#ddd"/>'
                    f'<text x="{x(v):.1f}" y="20" text-anchor="middle" fill="#777">{number(v)} ms</text>')
        v *= 10
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{y + 12}" fill="#fff"/>\n' + "\n".join(grid + out) + "\n</svg>\n")


def write(result, directory):
    with open(f"{directory}/bench.json", "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
    with open(f"{directory}/bench.md", "w", encoding="utf-8") as f:
        f.write(markdown(result))
    with open(f"{directory}/bench.svg", "w", encoding="utf-8") as f:
        f.write(svg(result))


def update_readme(path, text):
    """Between the two markers, which stay; the plot first."""
    begin, end = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"
    with open(path, encoding="utf-8") as f:
        whole = f.read()
    if begin not in whole or end not in whole:
        raise RuntimeError(f"{path} has no markers for the benchmark's table")
    head, rest = whole.split(begin, 1)
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + begin + "![medians on a logarithmic scale](contrib/bench.svg)\n\n" + text + end + rest.split(end, 1)[1])


def update_repository(repo, result):
    """The plot, the README's part, and the page with all rows."""
    with open(f"{repo}/contrib/bench.svg", "w", encoding="utf-8") as f:
        f.write(svg(result))
    with open(f"{repo}/{FULL}", "w", encoding="utf-8") as f:
        f.write("# What a pod and an exec cost: all rows\nMade by `./contrib/bench.sh --readme`; how it is measured stands in the README, section \"Performance\".\n\n"
                "![medians on a logarithmic scale](../bench.svg)\n\n" + markdown(result))
    update_readme(f"{repo}/README.md", summary(result))
