// jericho eval: perplexity of a model on a text, and its divergence from a reference model, both under one budget.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/progress.h"
#include "cli/read_text.h"
#include "cli/verbs.h"
#include "cli/workspace.h"
#include "eval/perplexity.h"

namespace jericho::cli {
namespace {

struct EvalOptions {
  WorkspaceOptions workspace{};
  std::string text{};
  std::string reference{};
};

constexpr Index kDefaultWindow = 512;

// Logits of a whole chunk are wanted: chunks of a large vocabulary stay near 64 MiB of logits.
Index chunk_for(Index vocab) {
  return std::clamp<Index>((Index{64} << 20) / (4 * vocab), kSmallestChunk, kLargestChunk);
}

void print_text(const Perplexity& result, Index context) {
  fmt::print("perplexity      {:.4f} +/- {:.4f}\nnll per token   {:.6f} +/- {:.6f} nats\nbits per byte   {:.4f}\n",
             result.ppl, result.ppl_stderr, result.nll.mean, result.nll.standard_error, result.bits_per_byte);
  fmt::print("scored          {} tokens in {} windows of {}\n", result.tokens, result.windows, context);
  if (!result.divergence) return;
  fmt::print("KL(reference)   {:.6f} +/- {:.6f} nats per token\nsame top token  {:.2f} +/- {:.2f} %\n",
             result.divergence->kl.mean, result.divergence->kl.standard_error, 100 * result.divergence->top1.mean,
             100 * result.divergence->top1.standard_error);
}

nlohmann::json to_json(const Perplexity& result, Index context) {
  nlohmann::json json = {{"ppl", result.ppl},
                         {"ppl_stderr", result.ppl_stderr},
                         {"nll_per_token", result.nll.mean},
                         {"bits_per_byte", result.bits_per_byte},
                         {"tokens", result.tokens},
                         {"windows", result.windows},
                         {"context", context}};
  if (result.divergence) {
    json["kl"] = result.divergence->kl.mean;
    json["kl_stderr"] = result.divergence->kl.standard_error;
    json["top1_agreement"] = result.divergence->top1.mean;
  }
  return json;
}

void require_same_vocabulary(const Workspace& reference, const Workspace& model) {
  if (reference.config().vocab_size == model.config().vocab_size) return;
  throw Error(ErrorKind::kInput,
              fmt::format("--reference {}: has a vocabulary of {}, the model one of {}; they cannot be compared",
                          reference.name(), reference.config().vocab_size, model.config().vocab_size));
}

int eval(EvalOptions options, const std::stop_token& stop) {
  const std::string text = read_text_file(options.text);
  Workspace workspace(options.workspace, NeedsTokenizer::kYes);
  const Tokenizer& tokenizer = workspace.tokenizer();
  const Index window =
      options.workspace.context.value_or(std::min(kDefaultWindow, workspace.config().max_position_embeddings));
  if (window < 4)
    throw Error(ErrorKind::kUsage, fmt::format("--context {}: eval needs windows of at least 4 tokens", window));
  const std::vector<TokenId> ids = tokenizer.encode(text);
  const InferenceWish wish = {.context = window, .chunk = chunk_for(workspace.config().vocab_size), .all_logits = true};
  const Bytes growth = Bytes{static_cast<std::int64_t>(ids.size()) * 24};  // scores per token
  std::unique_ptr<Workspace> reference;
  if (!options.reference.empty()) {
    WorkspaceOptions beside = options.workspace;
    beside.model = options.reference;
    reference = std::make_unique<Workspace>(beside, NeedsTokenizer::kNo, &workspace);
    require_same_vocabulary(*reference, workspace);
  }
  // Both are planned before either is loaded, so that a refusal names the budget for both.
  workspace.plan_and_load(wish, growth, stop, reference ? reference->cost_beside(wish) : Bytes{});
  if (reference) reference->plan_and_load(wish, Bytes{}, stop);
  Progress progress("evaluating");
  const PerplexityInput input = {ids, tokenizer.adds_bos() ? tokenizer.bos() : std::nullopt, window,
                                 [&](TokenId id) { return static_cast<Index>(tokenizer.piece(id).size()); }};
  const Perplexity result =
      perplexity(workspace.context(), workspace.session(), reference ? &reference->session() : nullptr, input, stop,
                 [&](Index done, Index total) { progress.update(done, total); });
  if (options.workspace.json) {
    nlohmann::json json = to_json(result, window);
    json["memory"] = workspace.memory_json();
    fmt::print("{}\n", json.dump());
  } else {
    print_text(result, window);
    fmt::print(stderr, "{}", workspace.memory_report());
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("eval", "Measure a model on a text: perplexity, and divergence from a reference");
  verb->footer(
      "Windows of -c tokens [512, or the model's context], the first token of each replaced by BOS, the second half "
      "scored.");
  auto options = std::make_shared<EvalOptions>();
  verb->add_option("-m,--model", options->workspace.model, "MODEL: a .gguf file or a Hugging Face directory")
      ->required();
  verb->add_option("--text", options->text, "FILE with the text")->required();
  verb->add_option("--reference", options->reference,
                   "MODEL to compare with: KL divergence and agreement of the top token");
  options->workspace.add_flags(*verb);
  verb->add_flag("--json", options->workspace.json,
                 "Print one object: ppl, ppl_stderr, nll_per_token, bits_per_byte, tokens, ...");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return eval(*options, stop); }; });
}

}  // namespace jericho::cli
