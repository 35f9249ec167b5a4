// From options to figures of one model: see eval_model.h.
#include "cli/eval_model.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>

#include <fmt/format.h>

#include "cli/progress.h"
#include "cli/speeds.h"
#include "eval/choice_scorer.h"
#include "eval/same_tokenizer.h"
#include "text/load_tokenizer.h"

namespace jericho::cli {
namespace {

constexpr Index kDefaultWindow = 512;
constexpr Index kMostSequences = 64;

// Logits of a whole chunk are wanted: chunks of a large vocabulary stay near 64 MiB of logits.
Index chunk_for(Index vocab) {
  return std::clamp<Index>((Index{64} << 20) / (4 * vocab), kSmallestChunk, kLargestChunk);
}

ModelResult result_of(const Workspace& workspace, Index context) {
  ModelResult result;
  result.model = workspace.name();
  result.weights = workspace.weights().file_bytes();
  result.memory_json = workspace.memory_json();
  result.memory_report = workspace.memory_report();
  result.memory = {result.memory_json.at("ledger_peak_bytes").get<std::int64_t>()};
  result.context = context;
  return result;
}

// `tokens` were read in `seconds`, `together` of them at a time, by the model and, where there is one, by its
// reference; `head_share` of them were scored.
void add_speed(const Workspace& workspace, const Workspace* reference, Index tokens, Index together, double head_share,
               double seconds, ModelResult& result) {
  const auto cost_of = [&](const Workspace& w) {
    return prefill_cost(w.weights(), w.plan(), together, w.plan().limits.rows, 0, head_share);
  };
  TokenCost cost = cost_of(workspace);
  if (reference != nullptr) {
    const TokenCost beside = cost_of(*reference);
    cost.bytes += beside.bytes;
    cost.operations += beside.operations;
  }
  const Speeds speeds(workspace.threads(), workspace.context().kernels.path);
  result.tokens_per_second = seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  result.held = speeds.tokens(result.tokens_per_second, cost);
  result.hint = speeds.hint();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void require_same_tokens(const Workspace& reference, const Workspace& model, const std::string& text,
                         std::span<const TokenId> ids) {
  if (reference.config().vocab_size != model.config().vocab_size) {
    throw Error(ErrorKind::kInput,
                fmt::format("--reference {}: has a vocabulary of {}, the model one of {}; they cannot be compared",
                            reference.name(), reference.config().vocab_size, model.config().vocab_size));
  }
  // Loaded for this alone: while the models run, one tokenizer is enough.
  const auto file = open_model(reference.name());
  const auto tokenizer =
      with_context([&] { return "--reference " + reference.name(); }, [&] { return load_tokenizer(*file); });
  if (const auto difference = tokenizer_difference(model.tokenizer(), *tokenizer, text, ids)) {
    throw Error(ErrorKind::kInput,
                fmt::format("--reference {}: has another tokenizer than {}: {}; probabilities of different tokens "
                            "cannot be compared",
                            reference.name(), model.name(), *difference));
  }
}

ModelResult evaluate_text(const WorkspaceOptions& options, const EvalTask& task, const std::stop_token& stop) {
  Workspace workspace(options, NeedsTokenizer::kYes);
  const Tokenizer& tokenizer = workspace.tokenizer();
  const Index window = options.context.value_or(std::min(kDefaultWindow, workspace.config().max_position_embeddings));
  if (window < 4)
    throw Error(ErrorKind::kUsage, fmt::format("--context {}: eval needs windows of at least 4 tokens", window));
  const std::vector<TokenId> ids = tokenizer.encode(task.text);
  const InferenceWish wish = {.context = window, .chunk = chunk_for(workspace.config().vocab_size), .all_logits = true};
  const Bytes growth = Bytes{static_cast<std::int64_t>(ids.size()) * 24};  // scores per token
  std::unique_ptr<Workspace> reference;
  if (!task.reference.empty()) {
    WorkspaceOptions beside = options;
    beside.model = task.reference;
    beside.adapters.clear();  // what an adapter changes is seen beside its base
    // What fewer bits or a selection cost shows only beside keys and values that are kept as ever and all read.
    if (options.parsed_kv_type() != KvType::kF32) beside.kv_type = WorkspaceOptions{}.kv_type;
    beside.kv_type_k = beside.kv_type_v = beside.kv_select = {};
    beside.kv_rotate = false;
    reference = std::make_unique<Workspace>(beside, NeedsTokenizer::kNo, &workspace);
    require_same_tokens(*reference, workspace, task.text, ids);
  }
  // Both are planned before either is loaded, so that a refusal names the budget for both.
  workspace.plan_and_load(wish, growth, stop, reference ? reference->cost_beside(wish) : Bytes{});
  if (reference) reference->plan_and_load(wish, Bytes{}, stop);
  Progress progress("evaluating");
  const std::vector<Passage> passages =
      task.separator ? documents_of(tokenizer, task.text, *task.separator, window) : windows_of(tokenizer, ids, window);
  const auto start = std::chrono::steady_clock::now();
  const Perplexity figures =
      perplexity(workspace.context(), workspace.session(), reference ? &reference->session() : nullptr, passages, stop,
                 [&](Index done, Index total) { progress.update(done, total); });
  const double seconds = seconds_since(start);
  ModelResult result = result_of(workspace, window);
  Index read = 0;
  for (const Passage& passage : passages) read += std::ssize(passage.ids);
  add_speed(workspace, reference.get(), read, read / std::ssize(passages), task.separator ? 1 : 0.5, seconds, result);
  result.per_document = task.separator.has_value();
  result.has_reference = reference != nullptr;
  result.perplexity = figures;
  return result;
}

// Of all choices, each with its context.
Index tokens_read(const std::vector<EncodedQuestion>& questions, Index context) {
  Index total = 0;
  for (const EncodedQuestion& question : questions) {
    for (const auto& continuation : question.continuations)
      total += std::min(context, std::ssize(question.context) + std::ssize(continuation) - 1);
  }
  return total;
}

// The fastest of the wishes that fit: many choices at once, one at a time, one at a time in small chunks. The answer is
// the same.
InferenceWish wish_for_choices(const Workspace& workspace, const WorkspaceOptions& options, Index context,
                               Index choices, Bytes growth) {
  const Index rows = options.chunk.value_or(chunk_for(workspace.config().vocab_size));
  const Index sequences = std::clamp<Index>(rows / context, 1, std::min(choices, kMostSequences));
  const std::array<InferenceWish, 3> wishes = {
      {{.context = context, .sequences = sequences, .chunk = rows, .all_logits = true},
       {.context = context, .chunk = rows, .all_logits = true},
       {.context = context, .chunk = std::min(rows, kSmallestChunk), .all_logits = true}}};
  for (const bool in_memory : {true, false}) {  // weights that stream cost more than small chunks do
    for (const InferenceWish& wish : wishes) {
      const std::optional<Plan> plan = workspace.outlook(wish, growth);
      if (plan && (plan->weights.whole || !in_memory)) return wish;
    }
  }
  return wishes.back();  // whose refusal names the smallest budget
}

ModelResult evaluate_choices(const WorkspaceOptions& options, const EvalTask& task, const std::stop_token& stop) {
  WorkspaceOptions without_context = options;  // -c is the most that is read; what is planned is what will be
  without_context.context.reset();
  Workspace workspace(without_context, NeedsTokenizer::kYes);
  const Index most = std::min(workspace.config().max_position_embeddings, kLargestContext);
  const Index limit = options.context.value_or(most);
  if (limit < 1 || limit > most) {
    throw Error(ErrorKind::kUsage, fmt::format("--context {}: expected 1 to {}, the model's own", limit, most));
  }
  std::vector<EncodedQuestion> encoded;
  encoded.reserve(task.questions.size());
  Index choices = 0;
  for (const ChoiceQuestion& question : task.questions) {
    encoded.push_back(encode_question(workspace.tokenizer(), question));
    choices += static_cast<Index>(question.choices.size());
  }
  const Index context = std::min(limit, longest_input(encoded));
  const Bytes growth{8 * choices + 96 * static_cast<std::int64_t>(encoded.size())};  // scores, sums, verdicts
  workspace.plan_and_load(wish_for_choices(workspace, options, context, choices, growth), growth, stop);
  Progress progress("evaluating");
  const auto start = std::chrono::steady_clock::now();
  const auto log_likelihoods = choice_log_likelihoods(
      workspace.context(), workspace.session(), encoded, {.context = context, .sequences = workspace.plan().sequences},
      stop, [&](Index done, Index total) { progress.update(done, total); });
  const double seconds = seconds_since(start);
  ModelResult result = result_of(workspace, limit);
  const Index read = tokens_read(encoded, context);
  Index scored = 0;
  for (const EncodedQuestion& question : encoded) {
    for (const auto& continuation : question.continuations) scored += std::ssize(continuation);
  }
  const double head_share = std::min(1.0, static_cast<double>(scored) / static_cast<double>(read));
  add_speed(workspace, nullptr, read, std::max<Index>(read / choices, 1) * workspace.plan().sequences, head_share,
            seconds, result);
  result.accuracy = accuracy(task.questions, encoded, log_likelihoods);
  result.accuracy->truncated = truncated_questions(encoded, context);
  return result;
}

}  // namespace

ModelResult evaluate(const WorkspaceOptions& options, const EvalTask& task, const std::stop_token& stop) {
  return task.questions.empty() ? evaluate_text(options, task, stop) : evaluate_choices(options, task, stop);
}

std::vector<Quality> qualities(const ModelResult& result) {
  if (result.perplexity) return {{"compression", 8 / result.perplexity->bits_per_byte}};
  const ChoiceAccuracy& a = *result.accuracy;
  return {{"acc", a.acc.mean},
          {"acc_norm", a.acc_norm.mean},
          {"acc_above_chance", a.acc.mean - a.chance},
          {"acc_norm_above_chance", a.acc_norm.mean - a.chance}};
}

double per_gib(double quality, Bytes bytes) { return quality * 0x1p30 / static_cast<double>(bytes.count); }

}  // namespace jericho::cli
