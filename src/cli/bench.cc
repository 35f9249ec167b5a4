// jericho bench: tokens per second of prefill and decode, as llama-bench and llama-batched-bench define them, each
// beside the roof that bounds it, measured in the same run (plan/speed.h). pp N: N random tokens read from an empty
// cache; tg N: N single-token steps; tg N @b B: B sequences stepping together, total tokens per second. Start at
// bench().
#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "base/philox.h"
#include "cli/bench_machine.h"
#include "cli/progress.h"
#include "cli/shapes.h"
#include "cli/verbs.h"
#include "cli/workspace.h"
#include "formats/json_file.h"
#include "models/families.h"
#include "plan/roofs.h"
#include "plan/speed.h"

namespace jericho::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  WorkspaceOptions workspace{};
  std::string shape{};
  std::string config{};
  std::string type = "Q4_0";
  std::vector<Index> prompts{512};
  std::vector<Index> generate{128};
  std::vector<Index> batches{1, 8, 32};
  std::vector<Index> depths{0};
  Index repetitions = 5;
  bool machine = false;
  bool quick = false;  // with machine
  std::string disk{};  // with machine

  void validate() const;
};

struct Test {
  Index prompt = 0;    // tokens read at once; 0: a decode test
  Index generate = 0;  // steps
  Index batch = 1;     // sequences stepping together
  Index depth = 0;     // tokens in the cache before
  [[nodiscard]] std::string name() const {
    std::string text = prompt > 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generate);
    if (batch > 1) text += fmt::format("@b{}", batch);
    if (depth > 0) text += fmt::format("@d{}", depth);
    return text;
  }
};

struct Result {
  Test test{};
  std::vector<double> samples{};  // tokens per second
  double bytes_per_token = 0;     // read from memory: weights shared by what is computed together, KV, states
  std::vector<Held> held{};       // every roof that was measured, the one that bounds the work first

  [[nodiscard]] double mean() const {
    return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  }
  [[nodiscard]] double deviation() const {
    double squares = 0;
    for (const double sample : samples) squares += (sample - mean()) * (sample - mean());
    return samples.size() > 1 ? std::sqrt(squares / static_cast<double>(samples.size() - 1)) : 0;
  }
};

void BenchOptions::validate() const {
  const auto expect = [](bool holds, const char* flag, Index value, const char* range) {
    if (!holds) throw Error(ErrorKind::kUsage, fmt::format("{} {}: expected {}", flag, value, range));
  };
  for (const Index p : prompts) expect(p >= 0 && p <= 1 << 20, "-p", p, "0 (none) to 1048576 tokens");
  for (const Index n : generate) expect(n >= 0 && n <= 1 << 20, "-n", n, "0 (none) to 1048576 tokens");
  for (const Index b : batches) expect(b >= 1 && b <= 1024, "-b", b, "1 to 1024 sequences");
  for (const Index d : depths) expect(d >= 0 && d <= 1 << 20, "-d", d, "0 to 1048576 tokens");
  expect(repetitions >= 1 && repetitions <= 1000, "-r", repetitions, "1 to 1000");
  if (!machine && (quick || !disk.empty()))
    throw Error(ErrorKind::kUsage, fmt::format("{}: is for bench --machine", quick ? "--quick" : "--disk"));
}

std::vector<Test> tests_of(const BenchOptions& options) {
  std::vector<Test> tests;
  for (const Index d : options.depths) {
    for (const Index p : options.prompts) {
      if (p > 0) tests.push_back({.prompt = p, .depth = d});
    }
    for (const Index n : options.generate) {
      for (const Index b : options.batches) {
        if (n > 0) tests.push_back({.generate = n, .batch = b, .depth = d});
      }
    }
  }
  return tests;
}

class Bench {
 public:
  Bench(Workspace& workspace, const std::stop_token& stop) : workspace_(workspace), stop_(stop) {}

  // The samples of all tests, taken in turn, so that a machine that slows down does so for all of them, and the roofs
  // before and after. What keeps them from being taken, a stop request or a failure, is in `ended` then, and the
  // results are those of the tests that have samples.
  std::vector<Result> run(std::span<const Test> tests, Index repetitions, std::exception_ptr& ended) {
    std::vector<Result> results;
    for (const Test& test : tests) results.push_back({.test = test});
    measure_roofs(results);
    try {
      Progress progress("bench");
      const Index total = (repetitions + 1) * std::ssize(tests);
      for (Index i = 0; i < total; ++i) {
        Result& result = results[static_cast<std::size_t>(i % std::ssize(tests))];
        const double speed = sample(result.test);
        if (i >= std::ssize(tests)) result.samples.push_back(speed);  // the first round warms up
        progress.update(i + 1, total);
      }
    } catch (...) {
      ended = std::current_exception();
    }
    measure_roofs(results);
    std::erase_if(results, [](const Result& result) { return result.samples.empty(); });
    for (Result& result : results) hold_against_roofs(result);
    return results;
  }

 private:
  void hold_against_roofs(Result& result) {
    const Test& test = result.test;
    const TokenCost cost = cost_of(test);
    result.bytes_per_token = cost.bytes;
    const auto add = [&](const std::optional<Roof>& read, const std::optional<Roof>& multiply) {
      if (const auto held = hold(result.mean(), cost, read, multiply)) result.held.push_back(*held);
    };
    add(read_roof_, std::nullopt);
    add(std::nullopt, compute_roofs_.at(cost.kind));
    std::stable_sort(result.held.begin(), result.held.end(),
                     [](const Held& x, const Held& y) { return x.fraction > y.fraction; });
  }

  [[nodiscard]] TokenCost cost_of(const Test& test) const {
    const Plan& plan = workspace_.plan();
    const auto depth = static_cast<double>(test.depth);
    if (test.prompt > 0)
      return prefill_cost(workspace_.weights(), plan, test.prompt, workspace_.session().chunk(), depth, 0);
    return decode_cost(workspace_.weights(), plan, static_cast<double>(test.batch),
                       depth + static_cast<double>(test.generate) / 2);
  }

  // The better of what was measured before and now: a roof is what the machine can do.
  void measure_roofs(std::span<const Result> results) {
    const auto raise = [](std::optional<Roof>& roof, const Roof& now) {
      if (!roof || now.value > roof->value) roof = now;
    };
    raise(read_roof_, measure_read(workspace_.context(), workspace_.weight_bytes()));
    std::set<PeakKind> kinds;
    for (const Result& result : results) kinds.insert(cost_of(result.test).kind);
    for (const PeakKind kind : kinds) {
      raise(compute_roofs_[kind], measure_multiply(workspace_.context(), kind, workspace_.context().kernels.path));
    }
  }

  [[nodiscard]] std::vector<TokenId> random_tokens(Index count) {
    std::vector<TokenId> tokens;
    for (Index i = 0; i < count; ++i) {
      const auto bits = philox4x32({drawn_++, 0, 0, 0}, {0x62656e63, 0});
      tokens.push_back(static_cast<TokenId>(bits[0] % static_cast<std::uint64_t>(workspace_.config().vocab_size)));
    }
    return tokens;
  }

  double sample(const Test& test) {
    Session& session = workspace_.session();
    std::vector<SequenceId> sequences;
    for (Index b = 0; b < test.batch; ++b) sequences.push_back(session.open());
    if (test.depth > 0) {
      for (const SequenceId s : sequences) session.prefill(s, random_tokens(test.depth), stop_);
    }
    const auto prompt = random_tokens(test.prompt);
    std::vector<TokenId> step = random_tokens(test.batch);
    const auto start = Clock::now();
    if (test.prompt > 0) session.prefill(sequences[0], prompt, stop_);
    for (Index i = 0; i < test.generate; ++i) {
      if (stop_.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
      std::vector<BatchItem> items;
      for (std::size_t b = 0; b < sequences.size(); ++b)
        items.push_back({sequences[b], {&step[b], 1}, LogitRows::kLast, KvReading::kSelected});
      session.forward(items);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    for (const SequenceId s : sequences) session.close(s);
    return static_cast<double>(test.prompt + test.generate * test.batch) / seconds;
  }

  Workspace& workspace_;
  const std::stop_token& stop_;
  std::uint32_t drawn_ = 0;
  std::map<PeakKind, std::optional<Roof>> compute_roofs_;
  std::optional<Roof> read_roof_;
};

std::string weight_type(const Workspace& workspace) {  // of most bytes
  std::string type;
  Bytes most{};
  std::map<std::string, Bytes> bytes;
  for (const WeightPlacement& p : workspace.weights().placements()) {
    Bytes& sum = bytes[std::string(name(p.dtype))];
    sum += p.size;
    if (sum > most) most = sum, type = name(p.dtype);
  }
  return type;
}

nlohmann::json to_json(const Result& result, const std::string& type, Workspace& workspace) {
  nlohmann::json fractions = nlohmann::json::object();
  for (const Held& held : result.held) fractions[held.roof.name] = held.fraction;
  const Held bound = result.held.empty() ? Held{} : result.held.front();
  return {{"test", result.test.name()},
          {"model", std::filesystem::path(workspace.name()).filename().string()},
          {"type", type},
          {"kv_type", name(workspace.plan().kv.type)},
          {"chunk", workspace.session().chunk()},
          {"context", workspace.plan().context},
          {"sequences", workspace.plan().sequences},
          {"n_threads", workspace.threads()},
          {"cpu", cpu_model_name()},
          {"path", name(workspace.context().kernels.path)},
          {"avg_ts", result.mean()},
          {"stddev_ts", result.deviation()},
          {"samples_ts", result.samples},
          {"bytes_per_token", result.bytes_per_token},
          {"roof", {{"name", bound.roof.name}, {"value", bound.roof.value}, {"unit", bound.roof.unit}}},
          {"fraction_of_roof", bound.fraction},
          {"fractions", fractions}};
}

std::unique_ptr<Workspace> make_workspace(const BenchOptions& options) {
  if (options.shape.empty() && options.config.empty())
    return std::make_unique<Workspace>(options.workspace, NeedsTokenizer::kNo);
  const auto type = dtype_from_name(options.type);
  if (!type || !is_packable(*type))
    throw Error(ErrorKind::kUsage,
                fmt::format("--type {}: expected a weight type such as Q4_0, Q8_0, BF16", options.type));
  ModelConfig config =
      options.shape.empty() ? config_from_json(read_json_file(options.config)) : shape_named(options.shape);
  return std::make_unique<Workspace>(options.workspace, std::move(config), *type);
}

int bench(const BenchOptions& options, const std::stop_token& stop) {
  options.validate();
  if (options.machine) {
    const WorkspaceOptions& w = options.workspace;
    return bench_machine({.streaming = {.memory = w.memory, .overcommit = w.overcommit, .threads = w.threads},
                          .disk = options.disk,
                          .quick = options.quick,
                          .json = w.json},
                         stop);
  }
  const std::vector<Test> tests = tests_of(options);
  if (tests.empty()) throw Error(ErrorKind::kUsage, "nothing to measure: -p and -n are both 0");
  const std::unique_ptr<Workspace> workspace = make_workspace(options);
  InferenceWish wish{.context = 1, .sequences = 1};
  for (const Test& test : tests) {
    wish.context = std::max(*wish.context, test.depth + test.prompt + test.generate);
    wish.sequences = std::max(wish.sequences, test.batch);
  }
  workspace->plan_and_load(wish, 1_MiB, stop);
  const std::string type = weight_type(*workspace);
  Bench runner(*workspace, stop);
  nlohmann::json all = nlohmann::json::array();
  if (!options.workspace.json) {
    fmt::print("{}, {}, {} threads, {}\n{:<16}{:>12}{:>10}   {:<24}{}\n", workspace->name(), type, workspace->threads(),
               name(workspace->context().kernels.path), "test", "tok/s", "+/-", "roof", "of roof");
  }
  std::exception_ptr ended;
  for (const Result& result : runner.run(tests, options.repetitions, ended)) {
    if (options.workspace.json) {
      all.push_back(to_json(result, type, *workspace));
    } else {
      const Held bound = result.held.empty() ? Held{} : result.held.front();
      fmt::print("{:<16}{:>12.2f}{:>10.2f}   {:<24}{:>6.1f} %\n", result.test.name(), result.mean(), result.deviation(),
                 fmt::format("{} {:.2f} {}", bound.roof.name, bound.roof.value, bound.roof.unit), 100 * bound.fraction);
    }
  }
  if (options.workspace.json) fmt::print("{}\n", all.dump());
  std::fflush(stdout);
  if (ended) std::rethrow_exception(ended);
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Run& chosen) {
  CLI::App* verb =
      app.add_subcommand("bench", "Measure tokens per second of prefill and decode, beside the machine's roofs");
  verb->footer(
      "pp512: 512 random tokens from an empty cache. tg128: 128 single-token steps. tg128@b8: 8 sequences stepping "
      "together, in total.");
  auto options = std::make_shared<BenchOptions>();
  CLI::Option* model = options->workspace.add_model_flag(*verb);
  CLI::Option* shape =
      verb->add_option("--shape", options->shape, "Random weights of a shape instead: " + shape_names());
  shape->excludes(model);
  verb->add_option("--config", options->config, "Random weights of the shape of this config.json instead")
      ->excludes(model)
      ->excludes(shape);
  verb->add_option("--type", options->type, "Type of random weights")->capture_default_str();
  verb->add_option("-p,--prompt", options->prompts, "Tokens of prefill tests; 0: none")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("-n,--predict", options->generate, "Tokens of decode tests; 0: none")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("-b,--batch", options->batches, "Sequences decoding together")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("-d,--depth", options->depths, "Tokens in the cache before the test")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("-r,--repetitions", options->repetitions,
                   "Samples of each test, in turn with the others, after a warm-up")
      ->capture_default_str();
  options->workspace.add_flags(*verb);
  verb->add_flag("--machine", options->machine,
                 "Measure memory, caches, disk and arithmetic instead, and keep the figures for the other verbs")
      ->excludes(model);
  verb->add_option("--disk", options->disk, "With --machine: FOLDER on the disk to measure [the user's cache]");
  verb->add_flag("--quick", options->quick, "With --machine: a rough look in a few seconds, not kept");
  verb->add_flag("--json", options->workspace.json, "Print an array of objects; of --machine one object");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return bench(*options, stop); }; });
}

}  // namespace jericho::cli
