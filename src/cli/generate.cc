// The loop that makes text: see generate.h.
#include "cli/generate.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho::cli {

void GenerateOptions::validate() const {
  if (predict < -1) throw Error(ErrorKind::kUsage, fmt::format("-n {}: expected -1 (no limit) or more", predict));
}

Index usable_vocab(const Workspace& workspace) {
  return std::min(workspace.config().vocab_size, workspace.tokenizer().size());
}

Sampler make_sampler(const SamplingOptions& options, const Workspace& workspace) {
  const Tokenizer& tokenizer = workspace.tokenizer();
  const Index vocab = usable_vocab(workspace);
  std::vector<bool> breakers;
  if (options.dry_multiplier > 0) {
    breakers =
        dry_breaker_tokens(options.dry_sequence_breakers, vocab, [&](TokenId id) { return tokenizer.piece(id); });
  }
  return Sampler(options, vocab, std::move(breakers));
}

GenerationHeap::GenerationHeap(const Sampler& sampler) : fixed(sampler.memory_bytes(0)) {
  constexpr Bytes kTextBytes{40};  // id, text and time of a token
  per_token = sampler.memory_bytes(1) - fixed + kTextBytes;
}

Generated generate(Workspace& workspace, SequenceId sequence, std::span<const float> logits, Sampler& sampler,
                   const GenerateOptions& options, const std::stop_token& stop,
                   const std::function<void(TokenId)>& each) {
  using Clock = std::chrono::steady_clock;
  Session& session = workspace.session();
  const auto vocab = static_cast<std::size_t>(usable_vocab(workspace));
  const std::vector<TokenId>& ends = workspace.tokenizer().end_of_generation();
  const auto is_full = [&](const Generated& so_far) {
    return options.predict >= 0 && std::ssize(so_far.ids) >= options.predict;
  };
  Generated generated;
  const auto start = Clock::now();
  if (is_full(generated)) generated.stopped_by = "length";
  while (generated.stopped_by.empty() && !stop.stop_requested()) {
    const TokenId token = sampler.sample(logits.first(vocab), session.length(sequence));
    sampler.accept(token);
    generated.ids.push_back(token);
    if (!options.ignore_eos && std::binary_search(ends.begin(), ends.end(), token)) {
      generated.stopped_by = "end";
      break;
    }
    each(token);
    if (session.length(sequence) >= session.context()) {
      generated.stopped_by = "context";
    } else if (is_full(generated)) {
      generated.stopped_by = "length";  // nobody will ask for the logits after the last token
    } else {
      workspace.relieve();
      const BatchItem item = {sequence, {&token, 1}, LogitRows::kLast, KvReading::kSelected};
      const auto before = Clock::now();
      logits = session.forward({&item, 1}).row(0);
      generated.steps.push_back(std::chrono::duration<float>(Clock::now() - before).count());
    }
  }
  generated.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return generated;
}

}  // namespace jericho::cli
