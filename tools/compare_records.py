#!/usr/bin/env python3
"""Compares two records of speeds and names what has become slower.

usage: compare_records.py OLD NEW [--tolerance 10%]

A record is what `./dev bench` writes, what `jericho bench --json` prints (the list, or an object with it under "results"), or
what `jericho bench --machine --json` prints. Both must be of one kind. A speed has become slower when it has lost more than the
tolerance even after both records' spreads are added to the new one. A spread is a standard deviation as a part of the mean; of
the machine's figures, how far the middle pass was below the best.

Exits with 1 when something has become slower, 2 when the records cannot be compared.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys


class NoRecord(Exception):
    pass


class Speed:
    """Larger is better; `spread` is a part of `value`."""

    def __init__(self, value, spread, unit):
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise NoRecord(f"expected a positive speed, found {value!r}")
        if not (isinstance(spread, (int, float)) and math.isfinite(spread) and spread >= 0):
            raise NoRecord(f"expected a spread of 0 or more, found {spread!r}")
        self.value, self.spread, self.unit = value, spread, unit


def of_micro(record):
    """Google Benchmark's results by suite: runs per second, from the median of the repetitions' real time."""
    seconds = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}
    speeds = {}
    for suite, result in record["suites"].items():
        times = {}  # run -> what Google Benchmark made of its repetitions, or their times themselves
        for row in result["benchmarks"]:
            if row.get("error_occurred"):
                continue
            run = times.setdefault(row.get("run_name", row["name"]), {"each": []})
            time = row["real_time"] if row.get("aggregate_unit") == "percentage" else row["real_time"] * seconds[row["time_unit"]]
            if row.get("run_type") == "aggregate":
                run[row["aggregate_name"]] = time
            else:
                run["each"].append(time)
        for name, run in times.items():
            each = run["each"]
            middle = run.get("median", statistics.median(each) if each else 0)
            deviation = run.get("stddev", statistics.stdev(each) if len(each) > 1 else 0)
            if middle <= 0:
                raise NoRecord(f"{suite}/{name}: has no time")
            speeds[f"{suite}/{name}"] = Speed(1 / middle, deviation / middle, "runs/s")
    return speeds


def of_models(rows, known):
    """Rows are told apart by what every record has, and by `known`, which older ones lack."""
    speeds = {}
    for row in rows:
        more = "".join(f", {WORDS[key].format(row[key])}" for key in known)
        name = f"{row['test']} {row['type']}, {row['n_threads']} threads, {row['path']}{more}"
        if "when" in row:  # several measurements under one hood: before and after, quiet and busy
            name += f", {row['when']}"
        if name in speeds:
            lacking = [key for key in WORDS if key not in known and all(key in each for each in rows)
                       and len({each[key] for each in rows}) > 1]
            remedy = (f"the other record does not tell their {' and '.join(lacking)}, so leave some out" if lacking else
                      "say in each row's \"when\" what tells them apart")
            raise NoRecord(f"has two rows of {name}: {remedy}")
        speeds[name] = Speed(row["avg_ts"], row["stddev_ts"] / row["avg_ts"] if row["avg_ts"] > 0 else 0, "tokens/s")
    return speeds


WORDS = {"model": "{}", "kv_type": "KV in {}", "chunk": "chunks of {}"}


def rows_of_models(record):
    rows = record.get("results") if isinstance(record, dict) else record
    return rows if isinstance(rows, list) and rows else None


def told_by(records):
    """The keys of WORDS that every row of all these records has."""
    rows = [row for record in records for row in rows_of_models(record) or []]
    return [key for key in WORDS if rows and all(isinstance(row, dict) and key in row for row in rows)]


def of_machine(record):
    figures = [key for key in record if key.split("_per_core")[0].endswith(("_gbps", "_tops", "_tflops"))]
    return {key: Speed(record[key], record["spread"].get(key, 0), key.split("_per_core")[0].rsplit("_", 1)[1])
            for key in figures if record[key] is not None}


def of_conversions(record):
    """Seconds of whole commands, as runs per second: `load` and each type of `convert`."""
    commands = {f"convert to {name}": row["seconds"] for name, row in record["convert"].items()}
    commands["first token"] = record["load"]["seconds"]
    return {name: Speed(1 / statistics.median(seconds), statistics.stdev(seconds) / statistics.median(seconds), "runs/s")
            for name, seconds in commands.items()}


def of_training(record):
    """Tokens per second of whole training steps."""
    speeds = {}
    for run in record["runs"]:
        each = run["tokens_per_second"]
        name = f"{run['model']}, {run['batch']}, {run['compute']}"
        speeds[name] = Speed(statistics.median(each), statistics.stdev(each) / statistics.median(each), "tokens/s")
    return speeds


def of_products(record):
    """Bytes of weights per second of single products; of several passes the median."""
    passes = {}
    for row in record["products"]:
        passes.setdefault(f"{row['type']}, {row['tokens']} tokens, {row['when']}", []).append(row["gbps"])
    return {name: Speed(statistics.median(each), statistics.stdev(each) / statistics.median(each) if len(each) > 1 else 0,
                        "gbps")
            for name, each in passes.items()}


def kind_and_speeds(record, known):
    if isinstance(record, dict) and "suites" in record:
        return "micro-benchmarks", of_micro(record)
    if isinstance(record, dict) and "dram_read_gbps" in record:
        return "the machine", of_machine(record)
    if isinstance(record, dict) and "convert" in record:
        return "loading and conversion", of_conversions(record)
    if isinstance(record, dict) and "runs" in record:
        return "training", of_training(record)
    if isinstance(record, dict) and "products" in record:
        return "products", of_products(record)
    rows = rows_of_models(record)
    if rows:
        return "whole models", of_models(rows, known)
    raise NoRecord("is no record: expected what ./dev bench writes or jericho bench --json prints")


def processor(record):
    rows = record.get("results", []) if isinstance(record, dict) else record
    if rows:
        return rows[0].get("cpu")
    return record.get("cpu") or record.get("identity", {}).get("cpu")


def read(paths):
    """(kind, {name: Speed}, processor) of each file. What only some of them tell of their rows names no speed."""
    records = []
    for path in paths:
        try:
            records.append(json.loads(pathlib.Path(path).read_text()))
        except OSError as error:
            raise NoRecord(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise NoRecord(f"{path}: is no record: {type(error).__name__} {error}") from error
    known = told_by(records)
    found = []
    for path, record in zip(paths, records):
        try:
            found.append((*kind_and_speeds(record, known), processor(record)))
        except NoRecord as error:
            raise NoRecord(f"{path}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoRecord(f"{path}: is no record: {type(error).__name__} {error}") from error
    return found


def tolerance(text):
    """A part of 1, from "10%" or "0.1"."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 0% to below 100%")
    return value


def slower(old, new, allowed):
    return new.value * (1 + old.spread + new.spread) < old.value * (1 - allowed)


def compare(old, new, allowed):
    """Lines of a table, and the names of what has become slower."""
    common = [name for name in old if name in new]
    width = max(map(len, common))
    lines, regressions = [], []
    for name in common:
        a, b = old[name], new[name]
        verdict = ""
        if slower(a, b, allowed):
            verdict = "SLOWER"
            regressions.append(name)
        elif slower(b, a, allowed):
            verdict = "faster"
        lines.append(f"{name:<{width}}  {a.value:>11.4g} -> {b.value:>11.4g} {a.unit:<8} {100 * (b.value / a.value - 1):+7.1f} %  "
                     f"spread {100 * a.spread:.1f} and {100 * b.spread:.1f} %  {verdict}".rstrip())
    return lines, regressions


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("--tolerance", type=tolerance, default=0.1, help="what may be lost beyond the spread [10%%]")
    chosen = parser.parse_args(arguments)
    try:
        (old_kind, old, old_cpu), (new_kind, new, new_cpu) = read([chosen.old, chosen.new])
        if old_kind != new_kind:
            raise NoRecord(f"{chosen.old} is of {old_kind}, {chosen.new} of {new_kind}: compare records of one kind")
        if not old.keys() & new.keys():
            raise NoRecord(f"{chosen.old} and {chosen.new} have nothing in common that could be compared")
    except NoRecord as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lines, regressions = compare(old, new, chosen.tolerance)
    print("\n".join(lines))
    if old_cpu != new_cpu:
        print(f"note: measured on different processors: {old_cpu} and {new_cpu}", file=sys.stderr)
    for path, here, there in ((chosen.old, old, new), (chosen.new, new, old)):
        alone = [name for name in here if name not in there]
        if alone:
            print(f"note: only in {path}: {', '.join(alone[:8])}{' ...' if len(alone) > 8 else ''} ({len(alone)})", file=sys.stderr)
    print(f"{len(lines)} compared, {len(regressions)} slower by more than {100 * chosen.tolerance:g} % beyond the spread")
    return 1 if regressions else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
