// jericho logits: raw fp32 logits of a list of token ids, for comparing engines. Needs no tokenizer.
#include <algorithm>
#include <chrono>
#include <fstream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/speeds.h"
#include "cli/token_list.h"
#include "cli/verbs.h"
#include "cli/workspace.h"

namespace jericho::cli {
namespace {

struct LogitsOptions {
  WorkspaceOptions workspace{};
  std::string tokens{};
  std::string output{};
};

int logits(const LogitsOptions& options, const std::stop_token& stop) {
  const std::vector<TokenId> tokens = parse_token_list("--tokens", options.tokens);
  Workspace workspace(options.workspace, NeedsTokenizer::kNo);
  require_in_vocabulary("--tokens", tokens, workspace.config().vocab_size);
  const auto count = static_cast<Index>(tokens.size());
  workspace.plan_and_load({.context_needed = count, .all_logits = true}, Bytes{count * 64}, stop);
  std::ofstream out(options.output, std::ios::binary);
  if (!out) throw Error(ErrorKind::kIo, fmt::format("-o {}: cannot be written", options.output));
  Session& session = workspace.session();
  const SequenceId sequence = session.open();
  const std::span<const TokenId> all(tokens);
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t begin = 0; begin < all.size(); begin += static_cast<std::size_t>(session.chunk())) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
    const auto piece = all.subspan(begin, std::min(static_cast<std::size_t>(session.chunk()), all.size() - begin));
    const BatchItem item = {sequence, piece, LogitRows::kAll};
    const MatrixView<const float> rows = session.forward({&item, 1});
    out.write(reinterpret_cast<const char*>(rows.data()), rows.extent(0) * rows.extent(1) * 4);
  }
  out.close();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!out)
    throw Error(ErrorKind::kIo, fmt::format("-o {}: could not be written whole; is the disk full?", options.output));
  const double speed = seconds > 0 ? static_cast<double>(count) / seconds : 0;
  const Speeds speeds(workspace.threads(), workspace.context().kernels.path);
  const TokenCost cost = prefill_cost(workspace.weights(), workspace.plan(), count, session.chunk(), 0, 1);
  fmt::print(stderr, "read    {:>6} tokens  {:>9.1f} tok/s{}\n{}", count, speed,
             after_speed(speeds.tokens(speed, cost)), speeds.hint());
  return 0;
}

}  // namespace

void add_logits(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("logits", "Write the raw fp32 logits [tokens, vocab] of a list of token ids");
  auto options = std::make_shared<LogitsOptions>();
  options->workspace.add_model_flag(*verb);
  verb->add_option("--tokens", options->tokens, "Token ids: 1,2,3")->required();
  verb->add_option("-o,--output", options->output, "File of little-endian fp32 values, row by row")->required();
  options->workspace.add_flags(*verb);
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return logits(*options, stop); }; });
}

}  // namespace jericho::cli
