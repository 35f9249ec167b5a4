// Perplexity of a text, and how far a model strays from a reference, over passages that are each evaluated on their
// own:
// windows of one text, or documents. Start at perplexity(). What is a passage and which of its tokens are scored make
// different numbers of one text.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "engine/session.h"
#include "eval/estimate.h"
#include "ops/context.h"
#include "text/tokenizer.h"

namespace jericho {

struct Divergence {
  Estimate kl{};    // KL(reference || model) per token, nats
  Estimate top1{};  // share of tokens where both prefer the same next token
};

struct Perplexity {
  double ppl = 0;            // exp(nll.mean)
  double ppl_stderr = 0;     // ppl times the standard error of the mean
  Estimate nll{};            // nats per token
  double bits_per_byte = 0;  // over the bytes of the scored tokens
  Index tokens = 0;          // scored
  Index bytes = 0;           // of the scored tokens
  Index passages = 0;
  std::optional<Divergence> divergence{};  // with a reference
};

struct Passage {
  std::vector<TokenId> ids{};
  Index first = 0;  // position whose next token is the first that is scored; all after it are
  Index bytes = 0;  // of the scored tokens
};

// Windows of `context` tokens without overlap, at least 4, the first id of each replaced by BOS where the model wants
// one, only the second half scored (llama.cpp's perplexity tool). Error(kInput) when the text has less than one window.
std::vector<Passage> windows_of(const Tokenizer& tokenizer, std::span<const TokenId> ids, Index context);

// The parts of a text between separators, without white space around them, each with BOS in front where the model wants
// one and cut to `context` tokens, every token scored that has one before it. Empty ones are left out. Error(kInput)
// when none is left.
std::vector<Passage> documents_of(const Tokenizer& tokenizer, std::string_view text, std::string_view separator,
                                  Index context);

// `session` was planned with all_logits and a context that holds every passage; `reference` as well, with the same
// vocabulary, or null. Progress counts passages. Error(kInterrupted) on a stop request.
Perplexity perplexity(const Context& context, Session& session, Session* reference, std::span<const Passage> passages,
                      const std::stop_token& stop, const std::function<void(Index done, Index total)>& progress);

}  // namespace jericho
