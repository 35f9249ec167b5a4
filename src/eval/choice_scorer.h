// Log-likelihoods of the choices of many questions: each choice is a sequence of its own, and as many sequences as the
// plan has advance together, so that short choices share the reading of the weights. How they are batched never shows
// in a result (docs/numerics.md). Start at choice_log_likelihoods().
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/session.h"
#include "eval/choices.h"
#include "ops/context.h"

namespace jericho {

struct ChoiceBatching {
  Index context = 0;    // most ids of an input; longer ones lose what is left of it, BOS too. Up to session.context()
  Index sequences = 1;  // at once: those of the session's plan
};

// Sums of natural logarithms in double, [question][choice]. `session` was planned with all_logits and has no open
// sequence. Progress counts choices. Error(kInput) names the line when a continuation alone is longer than the context,
// an id is not of the vocabulary or the model gives no number; Error(kInterrupted) on a stop request.
std::vector<std::vector<double>> choice_log_likelihoods(const Context& context, Session& session,
                                                        std::span<const EncodedQuestion> questions,
                                                        const ChoiceBatching& batching, const std::stop_token& stop,
                                                        const std::function<void(Index done, Index total)>& progress);

}  // namespace jericho
