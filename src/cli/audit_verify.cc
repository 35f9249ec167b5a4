// A slice to predict from, the plan to measure: see audit_verify.h.
#include "cli/audit_verify.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/philox.h"
#include "cli/machine_file.h"
#include "cli/streaming_speed.h"
#include "plan/roofs.h"
#include "plan/speed.h"

namespace jericho::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Index kSteps = 64;       // decoded, of which the median counts
constexpr Bytes kSlice = 256_MiB;  // of weights, more than most caches hold
constexpr Bytes kHeap = 1_MiB;

struct Load {  // what is run, of the slice and of the model
  Index batch = 1;
  Index prompt = 0;
};

struct Times {
  double prompt_seconds = 0;  // of one sequence's prompt
  double step_seconds = 0;    // the median
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Runner {
 public:
  Runner(Workspace& workspace, const std::stop_token& stop) : workspace_(workspace), stop_(stop) {}

  Times run(const Load& load, Index steps) {
    Session& session = workspace_.session();
    std::vector<SequenceId> sequences;
    Times times;
    std::vector<double> prompts, step_times;
    for (Index b = 0; b < load.batch; ++b) {
      sequences.push_back(session.open());
      const std::vector<TokenId> prompt = tokens(load.prompt);
      const auto start = Clock::now();
      session.prefill(sequences.back(), prompt, stop_);
      prompts.push_back(seconds_since(start));
    }
    for (Index i = 0; i < steps; ++i) {
      if (stop_.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
      const std::vector<TokenId> step = tokens(load.batch);
      std::vector<BatchItem> items;
      for (std::size_t b = 0; b < sequences.size(); ++b)
        items.push_back({sequences[b], {&step[b], 1}, LogitRows::kLast, KvReading::kSelected});
      const auto start = Clock::now();
      session.forward(items);
      step_times.push_back(seconds_since(start));
    }
    for (const SequenceId sequence : sequences) session.close(sequence);
    return {.prompt_seconds = median(prompts), .step_seconds = median(step_times)};
  }

 private:
  static double median(std::vector<double> values) {
    if (values.empty()) return 0;
    const auto middle = values.begin() + std::ssize(values) / 2;
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }
  std::vector<TokenId> tokens(Index count) {
    std::vector<TokenId> ids;
    for (Index i = 0; i < count; ++i) {
      const auto bits = philox4x32({drawn_++, 0, 0, 0}, {0x76657279, 0});
      ids.push_back(static_cast<TokenId>(bits[0] % static_cast<std::uint64_t>(workspace_.config().vocab_size)));
    }
    return ids;
  }

  Workspace& workspace_;
  const std::stop_token& stop_;
  std::uint32_t drawn_ = 0;
};

// As many layers of it, evenly drawn, as `most` bytes hold, at least one; a vocabulary that leaves room for them.
ModelConfig slice_of(const ModelConfig& whole, DType type, Bytes most) {
  ModelConfig slice = whole;
  slice.rope_divisors_in_file = slice.rope.factors_in_file = false;
  const double row = bits_per_weight(WeightLayout::of_shape(whole, type)) / 8 * static_cast<double>(whole.hidden_size);
  constexpr Index kLeastVocabulary = 512;
  const auto rows = static_cast<Index>(static_cast<double>(most.count) / 4 / row);
  slice.vocab_size = std::min(whole.vocab_size, std::max(kLeastVocabulary, rows));
  const auto with_layers = [&](Index count) {
    slice.layers.clear();
    for (Index i = 0; i < count; ++i)
      slice.layers.push_back(whole.layers[static_cast<std::size_t>(i * whole.num_hidden_layers / count)]);
    slice.num_hidden_layers = count;
    return WeightLayout::of_shape(slice, type).bytes();
  };
  Index fits = 1, too_many = whole.num_hidden_layers + 1;
  while (too_many - fits > 1) {
    const Index middle = fits + (too_many - fits) / 2;
    (with_layers(middle) <= most ? fits : too_many) = middle;
  }
  with_layers(fits);
  return slice;
}

DType main_type(const WeightLayout& weights) {
  for (const TypeShare& share : weights_by_type(weights)) return share.dtype;
  return DType::kF32;
}

// This machine as it is now, for ratios only: by what was kept of it, else by the slice's own bytes.
Device machine_for(const Audit& audit, Workspace& slice) {
  if (audit.speed && audit.speed->device.measured) return audit.speed->device;
  const Context& context = slice.context();
  Device device{.name = "this", .label = "this machine", .memory = audit.plan.budget};
  device.bytes_per_second = measure_read(context, slice.weight_bytes()).value * 1e9;
  for (const PeakKind kind : {PeakKind::kInt8, PeakKind::kBF16, PeakKind::kF32}) {
    device.peaks[static_cast<std::size_t>(kind)] = measure_multiply(context, kind, context.kernels.path).value * 1e12;
  }
  device.measured = true;
  return device;
}

struct Prediction {
  Device device{};
  Times times{};  // with all weights in memory
  std::optional<StreamingSpeed> streaming{};
  std::string how{};
};

struct Bounds {
  Bounds(const ModelView& model, const Device& device, KvTypes type, const Load& load, Index chunk)
      : prompt(prefill_bound(model, device, type, static_cast<double>(load.prompt), static_cast<double>(chunk))),
        step(decode_bound(model, device, type, static_cast<double>(load.batch), depth(load))) {}
  static double depth(const Load& load) { return static_cast<double>(load.prompt) + kSteps / 2.0; }
  Bound prompt, step;
};

Prediction predict(AuditModel& model, const Audit& audit, const Load& load, const std::stop_token& stop) {
  const ModelView whole = model.view();
  const DType type = main_type(whole.weights);
  const Bytes most{std::min(kSlice.count, std::max<std::int64_t>(1, audit.plan.budget.count / 4))};
  ModelConfig config = slice_of(whole.config, type, most);
  const Index layers = config.num_hidden_layers;
  WorkspaceOptions options = model.options();
  options.context.reset();
  Workspace slice(options, std::move(config), type);
  const Index context = load.prompt + kSteps;
  slice.plan_and_load({.context = context, .sequences = load.batch}, kHeap, stop);
  Runner runner(slice, stop);
  runner.run({load.batch, std::min<Index>(load.prompt, 32)}, 4);  // warm
  const Times taken = runner.run(load, kSteps);
  Prediction prediction{.device = machine_for(audit, slice)};
  const Index chunk = slice.session().chunk();
  const KvTypes kv = audit.request.kv_type;
  const Bounds of_slice({slice.config(), slice.weights()}, prediction.device, kv, load, chunk);
  const Bounds of_whole(whole, prediction.device, kv, load, chunk);
  prediction.times = {taken.prompt_seconds * of_whole.prompt.seconds / of_slice.prompt.seconds,
                      taken.step_seconds * of_whole.step.seconds / of_slice.step.seconds};
  if (!audit.plan.plan->weights.whole) {
    const Workspace& file = model.workspace();
    prediction.streaming = measure_streaming(
        slice.context(), file.file(), file.config(), file.weights(),
        [&] {
          runner.run({load.batch, 1}, 1);
        },
        stop);
  }
  prediction.how = fmt::format("predicted from {} of {} layers with random {} weights", layers,
                               whole.config.num_hidden_layers, name(type));
  return prediction;
}

void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }  // of the resident set; may be refused

}  // namespace

Verification verify(AuditModel& model, const Audit& audit, const std::stop_token& stop) {
  const AuditRequest& request = audit.request;
  if (request.context <= kSteps) {
    throw Error(ErrorKind::kUsage, fmt::format("--verify decodes {} tokens; --context {} leaves no room for a prompt",
                                               kSteps, request.context));
  }
  if (!audit.plan.plan)
    throw Error(ErrorKind::kBudget,
                fmt::format("--verify: the plan does not fit {}; --memory {} works", format_bytes(audit.plan.budget),
                            budget_argument(audit.plan.smallest.smallest_budget)));
  if (audit.plan.plan->cold.group_pages > 0) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("--verify: {} of {} pages of keys and values would lie in a scratch file, whose times are "
                            "not predicted; give more --memory",
                            audit.plan.plan->all_pages() - audit.plan.plan->pages, audit.plan.plan->all_pages()));
  }
  if (request.command.arguments.empty())
    throw Error(ErrorKind::kUnsupported, fmt::format("--verify: {} cannot be run here", request.model));
  const Load load{request.batch, std::min(request.prompt, request.context - kSteps)};
  Prediction prediction = predict(model, audit, load, stop);
  Workspace& workspace = model.workspace();
  forget_peak();
  workspace.plan_and_load({.context = request.context, .sequences = request.batch}, kHeap, stop);
  Runner runner(workspace, stop);
  runner.run({load.batch, std::min<Index>(load.prompt, 32)}, 2);  // warm
  const Times taken = runner.run(load, kSteps);
  const nlohmann::json memory = workspace.memory_json();

  Times expected = prediction.times;
  Verification result{.how = prediction.how};
  if (const auto& streaming = prediction.streaming) {
    const Plan& plan = workspace.plan();
    const double passes = std::ceil(static_cast<double>(load.prompt) / static_cast<double>(plan.limits.rows));
    const double of_step = disk_bytes_of_pass(plan.weights, static_cast<double>(load.batch));
    const double of_pass = disk_bytes_of_pass(plan.weights, static_cast<double>(load.prompt) / passes);
    expected.step_seconds = seconds_of_pass(*streaming, expected.step_seconds, of_step);
    expected.prompt_seconds = passes * seconds_of_pass(*streaming, expected.prompt_seconds / passes, of_pass);
    result.decode.disk = of_step / streaming->disk / taken.step_seconds;
    result.prefill.disk = passes * of_pass / streaming->disk / taken.prompt_seconds;
  }
  const auto batch = static_cast<double>(load.batch), prompt = static_cast<double>(load.prompt);
  result.figures = {
      {"decode_tokens_per_second", "decode", "tok/s", batch / expected.step_seconds, batch / taken.step_seconds},
      {"prefill_tokens_per_second", "prefill", "tok/s", prompt / expected.prompt_seconds,
       prompt / taken.prompt_seconds},
      {"peak_memory_mib", "peak memory", "MiB", memory["ledger_peak_bytes"].get<double>() / 0x1p20,
       memory["kernel_peak_bytes"].get<double>() / 0x1p20}};
  const Bounds bounds(model.view(), prediction.device, request.kv_type, load, workspace.session().chunk());
  const auto held = [](const Bound& bound, double seconds, Utilization& use) {
    use.bandwidth = bound.read_seconds / seconds;
    use.compute = bound.compute_seconds / seconds;
  };
  held(bounds.step, taken.step_seconds, result.decode);
  held(bounds.prompt, taken.prompt_seconds, result.prefill);
  return result;
}

}  // namespace jericho::cli
