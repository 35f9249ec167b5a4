// jericho diff: what differs between two models, in any formats: configuration, weights, and on a text the
// probabilities they give. Exit code 0 when nothing differs, 1 when something does.
#include <algorithm>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "cli/eval_model.h"
#include "cli/progress.h"
#include "cli/read_text.h"
#include "cli/streaming_books.h"
#include "cli/verbs.h"
#include "convert/diff.h"
#include "formats/model_file.h"
#include "kernels/kernels.h"
#include "memory/io.h"

namespace jericho::cli {
namespace {

using Json = nlohmann::json;

struct Options {
  std::string a{};
  std::string b{};
  std::string text{};
  WorkspaceOptions workspace{};  // of the text
  bool all = false;
};

constexpr std::size_t kShownWeights = 20;  // for people, unless --all

ModelDifference compare(const Options& options, const std::stop_token& stop) {
  const auto a = open_model(options.a);
  const auto b = open_model(options.b);
  const Comparison comparison(*a, *b);
  ThreadPool pool(1);
  const auto io_a = make_io_backend(), io_b = make_io_backend();
  const StreamingOptions streaming{.memory = options.workspace.memory, .overcommit = options.workspace.overcommit};
  StreamingBooks books(streaming, "the comparison", 1_MiB, comparison.buffer_bytes());
  const Context context{books.ledger(), pool, kernels_for(chosen_cpu_path())};
  Progress progress(fmt::format("comparing {} and {}", options.a, options.b));
  return comparison.run(context, *io_a, *io_b, books.buffers(), stop,
                        [&](Bytes done, Bytes total) { progress.update(done.count, total.count); });
}

bool is_same(const ModelDifference& d) {
  return d.fields.empty() && d.only_a.empty() && d.only_b.empty() && d.other_shapes.empty() &&
         std::all_of(d.weights.begin(), d.weights.end(), [](const auto& w) { return w.different == 0; });
}

void print_text(const ModelDifference& d, bool all) {
  if (d.fields.empty()) fmt::print("configuration: the same\n");
  for (const FieldDifference& field : d.fields)
    fmt::print("{}: {} | {}\n", field.key, field.a.value_or("(none)"), field.b.value_or("(none)"));
  for (const std::string& name : d.only_a) fmt::print("only in the first: {}\n", name);
  for (const std::string& name : d.only_b) fmt::print("only in the second: {}\n", name);
  for (const std::string& line : d.other_shapes) fmt::print("other shapes: {}\n", line);
  std::vector<const WeightDifference*> different;
  for (const WeightDifference& weight : d.weights) {
    if (weight.different > 0) different.push_back(&weight);
  }
  fmt::print("weights: {} the same, {} different\n", d.weights.size() - different.size(), different.size());
  if (different.empty()) return;
  std::stable_sort(different.begin(), different.end(),
                   [](const auto* x, const auto* y) { return x->relative_rms > y->relative_rms; });
  fmt::print("{:<58}{:>16}{:>12}{:>12}{:>12}\n", "largest relative difference first", "types", "different", "largest",
             "rms");
  for (std::size_t i = 0; i < different.size() && (all || i < kShownWeights); ++i) {
    const WeightDifference& w = *different[i];
    fmt::print("{:<58}{:>16}{:>10.2f} %{:>12.3g}{:>12.3g}\n", w.name, fmt::format("{} {}", name(w.a), name(w.b)),
               100.0 * static_cast<double>(w.different) / static_cast<double>(w.elements), w.largest, w.relative_rms);
  }
  if (!all && different.size() > kShownWeights)
    fmt::print("... and {} more; --all lists them\n", different.size() - kShownWeights);
}

Json to_json(const ModelDifference& d) {
  Json fields = Json::array(), weights = Json::array();
  for (const FieldDifference& field : d.fields) {
    const auto value = [](const std::optional<std::string>& v) { return v ? Json(*v) : Json(nullptr); };
    fields.push_back({{"key", field.key}, {"a", value(field.a)}, {"b", value(field.b)}});
  }
  for (const WeightDifference& w : d.weights) {
    weights.push_back({{"name", w.name},
                       {"type_a", name(w.a)},
                       {"type_b", name(w.b)},
                       {"elements", w.elements},
                       {"different", w.different},
                       {"largest", w.largest},
                       {"relative_rms", w.relative_rms}});
  }
  return {{"same", is_same(d)}, {"fields", fields},   {"weights", weights},
          {"only_a", d.only_a}, {"only_b", d.only_b}, {"other_shapes", d.other_shapes}};
}

// How far the second strays from the first on the text.
ModelResult on_text(const Options& options, const std::stop_token& stop) {
  WorkspaceOptions workspace = options.workspace;
  workspace.model = options.b;
  return evaluate(workspace, {.text = read_text_file(options.text), .reference = options.a}, stop);
}

int diff(const Options& options, const std::stop_token& stop) {
  const ModelDifference difference = compare(options, stop);
  std::optional<ModelResult> result;
  if (!options.workspace.json) print_text(difference, options.all);
  if (!options.text.empty()) result = on_text(options, stop);
  const bool compared = result && result->perplexity && result->perplexity->divergence;
  const Divergence* divergence = compared ? &*result->perplexity->divergence : nullptr;
  if (options.workspace.json) {
    Json out = to_json(difference);
    if (divergence != nullptr) {
      out["kl"] = divergence->kl.mean;
      out["same_top"] = divergence->top1.mean;
    }
    fmt::print("{}\n", out.dump(-1, ' ', false, Json::error_handler_t::replace));
  } else if (divergence != nullptr) {
    fmt::print("KL(first || second) {:.6f} +/- {:.6f} nats per token; same top token {:.2f} %\n", divergence->kl.mean,
               divergence->kl.standard_error, 100 * divergence->top1.mean);
  }
  return is_same(difference) ? 0 : 1;
}

}  // namespace

void add_diff(CLI::App& app, Run& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("diff", "What differs between two models: configuration, weights, and on a text");
  verb->add_option("A", options->a, "a .gguf file or a Hugging Face directory")->required();
  verb->add_option("B", options->b, "another")->required();
  verb->add_option("--text", options->text, "A text to compare their probabilities on");
  verb->add_flag("--all", options->all, "List every weight that differs");
  options->workspace.add_flags(*verb);
  verb->add_flag("--json", options->workspace.json, "Print JSON");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return diff(*options, stop); }; });
}

}  // namespace jericho::cli
