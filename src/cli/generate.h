// Tokens one after the other, as run and chat ask for them. Start at generate().
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/index.h"
#include "cli/workspace.h"
#include "engine/sampler.h"
#include "engine/session.h"

namespace jericho::cli {

// Rows of the head beyond the tokenizer's ids are padding and never chosen.
Index usable_vocab(const Workspace& workspace);

Sampler make_sampler(const SamplingOptions& options, const Workspace& workspace);

// Heap that a verb which generates text adds to the process: of its sampler, and per token of context of the sampler's
// lists, ids, texts and growing containers.
struct GenerationHeap {
  GenerationHeap() = default;  // none
  explicit GenerationHeap(const Sampler& sampler);
  Bytes fixed{}, per_token{};
};

struct GenerateOptions {
  Index predict = -1;  // tokens at most; -1: until the model ends or the context is full
  bool ignore_eos = false;

  void validate() const;  // Error(kUsage)
};

struct Generated {
  std::vector<TokenId> ids{};  // the token that ended it among them
  std::string stopped_by{};    // "length", "context", "end"; empty: by the stop request
  double seconds = 0;
  std::vector<float> steps{};  // seconds of each forward pass
};

// Continues `sequence`, whose last token has `logits`. `each` is called with every token that belongs to the text. The
// last one is not read by the sequence.
Generated generate(Workspace& workspace, SequenceId sequence, std::span<const float> logits, Sampler& sampler,
                   const GenerateOptions& options, const std::stop_token& stop,
                   const std::function<void(TokenId)>& each);

}  // namespace jericho::cli
