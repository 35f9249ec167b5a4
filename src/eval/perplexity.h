// Perplexity of a text, and how far a model strays from a reference: windows of `context` tokens without overlap, each
// evaluated on its own with its first token replaced by BOS, only the second half scored (llama.cpp's perplexity tool).
// Start at perplexity(). Other definitions (every token scored, sliding windows) give other numbers.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stop_token>

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
  Index windows = 0;
  std::optional<Divergence> divergence{};  // with a reference
};

struct PerplexityInput {
  std::span<const TokenId> ids{};       // of the whole text, BOS in front where the model wants it
  std::optional<TokenId> bos{};         // put in place of each window's first id
  Index context = 512;                  // tokens per window, at least 4
  std::function<Index(TokenId)> bytes;  // of a token's piece
};

// `session` was planned with all_logits and at least `context`; `reference` as well, with the same vocabulary, or null.
// Progress counts windows. Error(kInput) when the text has less than one window, Error(kInterrupted) on a stop request.
Perplexity perplexity(const Context& context, Session& session, Session* reference, const PerplexityInput& input,
                      const std::stop_token& stop, const std::function<void(Index done, Index total)>& progress);

}  // namespace jericho
