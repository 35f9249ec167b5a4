#!/usr/bin/env python3
"""Measures what the memory manager promises on a model of the 1.1B shape, and writes a record for bench/results/: the ladder
of budgets inside memory cgroups, weights that stream, a context larger than its memory, and audit --verify.

usage: record_memory.py JERICHO MAKE_MODEL FOLDER OUT [PART...]

PART is ladder, streaming, context or verify; by default all. FOLDER, on the disk to be measured, holds the model meanwhile
(about 1.2 GB). Run it on a machine that does nothing else; it takes about ten minutes.
"""
import ctypes
import json
import mmap
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
import cgroup  # noqa: E402: the path comes first
import page_cache  # noqa: E402

MIB = 1 << 20
SHAPE = {"hidden": 2048, "ff": 5632, "layers": 22, "heads": 32, "kv_heads": 4, "head_dim": 64, "vocab": 32000, "context": 2048}
DEEP = {"hidden": 1024, "ff": 2816, "layers": 16, "heads": 16, "kv_heads": 8, "head_dim": 64, "vocab": 4096, "context": 16384}
STREAMED_TOKENS = (8, 56)
RUNS = 3


class Bench:
    def __init__(self, jericho, make_model, folder):
        self.jericho, self.make_model, self.folder = jericho, make_model, folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("JERICHO_")}
        self.environment["XDG_CACHE_HOME"] = str(folder / "cache")
        self.results = []

    def model(self, name, **sizes):
        path = self.folder / name
        subprocess.run([self.make_model, path, "Q4_0", *(f"{key}={value}" for key, value in sizes.items())], check=True)
        return path

    def command(self, model, tokens, memory, *more):
        return [str(word) for word in (self.jericho, "run", "-m", model, "-p", "the cat sat on the", "-n", tokens, "--temp", "0",
                                       "--ignore-eos", "-t", "2", "-c", "256", "--memory", memory, "--json", *more)]

    def json_of(self, command, accepted=(0,)):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=self.environment)
        if done.returncode not in accepted:
            raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)

    def add(self, test, speeds, **more):
        self.results.append({"test": test, "type": "Q4_0", "n_threads": 2, "path": self.path, "cpu": self.cpu,
                             "avg_ts": round(statistics.mean(speeds), 3),
                             "stddev_ts": round(statistics.stdev(speeds), 3) if len(speeds) > 1 else 0, **more})


def direct_read_gbps(path, seconds=1.0):
    """What the disk gives of this file: requests of 1 MiB by 16 threads into huge pages, past the page cache."""
    workers, huge = 16, 2 * MIB
    size = path.stat().st_size // MIB * MIB
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    memory = mmap.mmap(-1, (workers + 1) * huge, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    begin_of_page = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % huge
    view = memoryview(memory)
    for at in range(0, len(view), 4096):
        view[at] = 1  # backed before the clock runs
    done = [0] * workers

    def read(worker):
        buffer = [view[begin_of_page + worker * huge:][:MIB]]
        at = worker * MIB
        while time.monotonic() < end:
            done[worker] += os.preadv(descriptor, buffer, at % size)
            at += workers * MIB

    begin = time.monotonic()
    end = begin + seconds
    threads = [threading.Thread(target=read, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(descriptor)
    return sum(done) / (time.monotonic() - begin) / 1e9


def ladder(bench, model):
    """Budgets of once to four times the least, in a cgroup of 5 % more: the peak, and one text."""
    refusal = subprocess.run(bench.command(model, 24, "1MiB"), capture_output=True, text=True, env=bench.environment)
    least = json.loads(refusal.stdout)["smallest_budget_bytes"]
    refused = subprocess.run(bench.command(model, 24, f"{int(0.98 * least)}B"), capture_output=True, env=bench.environment)
    texts = set()
    for factor in (1, 1.25, 2, 4):
        budget = int(factor * least)
        with cgroup.MemoryCgroup(int(1.05 * budget)) as group:
            done = group.run(bench.command(model, 24, f"{budget}B"), env=bench.environment)
        if done.exit_code != 0 or done.oom_kills != 0:
            raise SystemExit(f"budget {budget}: exit code {done.exit_code}, {done.oom_kills} kills\n{done.stderr}")
        result = json.loads(done.stdout)
        texts.add(tuple(result["tokens"]))
        peak = result["memory"]["kernel_peak_bytes"]
        bench.add(f"tg24 ladder, least budget x {factor}", [result["decode_tokens_per_second"]], budget_bytes=budget,
                  kernel_peak_bytes=peak, of_budget=round(peak / budget, 3), cgroup_peak_bytes=done.peak_bytes,
                  at_98_percent=refused.returncode if factor == 1 else None)
    return {"same_tokens_at_all_budgets": len(texts) == 1}


def run_counted(bench, command):
    """A run's result, and the bytes that it read from the device."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=bench.environment)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    return usage.ru_inblock * 512, json.loads(out)


def streaming(bench, model):
    """Weights 1.25, 2 and 4 times the budget: bytes per token against what is not pinned, the disk's speed beside."""
    size = model.stat().st_size
    texts, cached = set(), 0
    few, many = STREAMED_TOKENS
    for divisor in (1.25, 2, 4):
        memory = f"{int(size / divisor)}B"
        direct, speeds = [direct_read_gbps(model)], []
        for _ in range(RUNS):
            page_cache.drop(model)
            base, _ = run_counted(bench, bench.command(model, few, memory))
            page_cache.drop(model)
            read, result = run_counted(bench, bench.command(model, many, memory))
            cached = max(cached, page_cache.cached_bytes(model))
            speeds.append(result["decode_tokens_per_second"])
            direct.append(direct_read_gbps(model))
            texts.add(tuple(result["tokens"]))
        per_token = (read - base) / (many - few)
        rest = size - result["memory"]["purposes"]["weights.resident"]["peak_bytes"]
        gbps = per_token * statistics.median(speeds) / 1e9
        bench.add(f"tg{many} streaming, budget = file / {divisor}", speeds, budget_bytes=int(size / divisor),
                  kernel_peak_bytes=result["memory"]["kernel_peak_bytes"], read_bytes_per_token=int(per_token),
                  file_less_pinned_bytes=rest, of_file_less_pinned=round(per_token / rest, 4), read_gbps=round(gbps, 3),
                  direct_read_gbps=[round(each, 2) for each in direct],
                  of_direct_read=round(gbps / statistics.median(direct), 3))
    return {"same_streamed_tokens": len(texts) == 1, "page_cache_left_bytes": cached, "file_bytes": size}


def context(bench):
    """A context of four times the keys and values that memory holds, and what the disk's speed makes of it."""
    model = bench.model("deep.gguf", **DEEP)
    scratch = bench.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    text = bench.folder / "text"
    text.write_text("the cat sat on the mat and the dog lay by the door while rain fell on the roof of the old house " * 90)

    def command(memory, *more):
        words = bench.command(model, 200, memory, *more)
        at = words.index("-p")
        words[at:at + 2] = ["-f", str(text)]
        words[words.index("-c") + 1] = "12288"
        return words

    whole = bench.json_of(command("auto"))
    all_pages = whole["memory"]["purposes"]["kv.pages"]["peak_bytes"]

    def planned(memory):
        audit = bench.json_of([bench.jericho, "audit", model, "-c", "12288", "-t", "2", "--memory", f"{memory}B", "--scratch",
                               scratch, "--json"])
        return audit["plan"]["plan"]["run"]["kv.pages_bytes"] if audit["plan"]["fits"] else 0

    low, high = 64 * MIB, 4096 * MIB  # the most memory that holds at most a quarter of the keys and values
    while high - low > 4 * MIB:
        middle = (low + high) // 2
        low, high = (middle, high) if 4 * planned(middle) <= all_pages else (low, middle)
    memory = low
    results = [bench.json_of(command(f"{memory}B", "--scratch", str(scratch))) for _ in range(RUNS)]
    part = all_pages / results[0]["memory"]["purposes"]["kv.pages"]["planned_bytes"]
    direct = [direct_read_gbps(model) for _ in range(RUNS)]
    arithmetic = results[0]["cold"]["bytes_per_token"] / (statistics.median(direct) * 1e9)
    in_memory = 1 / whole["decode_tokens_per_second"]
    for key in ("median_seconds", "p99_seconds", "slowest_seconds"):
        if key not in results[0]["cold"]:
            raise SystemExit(f"run --json has no cold.{key}")
    bench.add("tg200 context 4 x its memory", [each["decode_tokens_per_second"] for each in results], budget_bytes=memory,
              prompt_tokens=whole["prompt_tokens"], kv_bytes=all_pages, kv_in_memory_bytes=int(all_pages / part),
              bytes_per_token=results[0]["cold"]["bytes_per_token"],
              in_memory_ts=round(whole["decode_tokens_per_second"], 2), direct_read_gbps=[round(each, 2) for each in direct],
              arithmetic_seconds=round(max(arithmetic, in_memory), 5),
              **{key: [round(each["cold"][key], 5) for each in results]
                 for key in ("median_seconds", "p99_seconds", "slowest_seconds")},
              slowest_of_arithmetic=[round(each["cold"]["slowest_seconds"] / max(arithmetic, in_memory), 2)
                                     for each in results])
    model.unlink()
    return {"same_cold_tokens": all(each["tokens"] == whole["tokens"] for each in results)}


def verify(bench, model):
    """audit --verify of the model in memory and at half of its file: measured beside predicted."""
    size = model.stat().st_size
    holds = {}
    for name, memory in (("in memory", "4GiB"), ("streamed, budget = file / 2", f"{size // 2}B")):
        each = []
        for _ in range(RUNS):
            audit = bench.json_of([bench.jericho, "audit", model, "--verify", "-c", "512", "-t", "2", "--memory", memory,
                                   "--json"], accepted=(0, 1))
            each.append(audit["verification"]["figures"])
        for key, test in (("decode_tokens_per_second", "decode"), ("prefill_tokens_per_second", "prefill")):
            ratios = [figures[key]["measured"] / figures[key]["predicted"] for figures in each]
            bench.add(f"verify {test}, {name}", [figures[key]["measured"] for figures in each],
                      predicted_ts=[round(figures[key]["predicted"], 2) for figures in each],
                      predicted_of_measured=[round(1 / ratio, 3) for ratio in ratios])
            holds[f"{test}, {name}"] = sum(figures[key]["holds"] for figures in each)
        holds[f"peak memory, {name}"] = sum(figures["peak_memory_mib"]["holds"] for figures in each)
    return {"verified_within_20_percent": {key: f"{count} of {RUNS}" for key, count in holds.items()}}


def main():
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    jericho, make_model, folder, out = (pathlib.Path(word).resolve() for word in sys.argv[1:5])
    parts = sys.argv[5:] or ["ladder", "streaming", "context", "verify"]
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(jericho, make_model, folder)
    machine = bench.json_of([jericho, "bench", "-p", "8", "-n", "0", "-r", "1", "--json"])[0]
    bench.cpu, bench.path = machine["cpu"], machine["path"]
    model = bench.model("1b.gguf", **SHAPE)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout
    record = {"what": __doc__.split("\n\n")[0], "commit": commit.strip(), "shape": SHAPE, "deep_shape": DEEP}
    for part in parts:
        print(part, file=sys.stderr)
        record |= {"ladder": lambda: ladder(bench, model), "streaming": lambda: streaming(bench, model),
                   "context": lambda: context(bench), "verify": lambda: verify(bench, model)}[part]()
        record["results"] = bench.results
        out.write_text(json.dumps(record, indent=1) + "\n")
    model.unlink()


if __name__ == "__main__":
    main()
