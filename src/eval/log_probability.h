// What a row of logits says about a token, in double with base/math.h: the same bits on every machine.
#pragma once

#include <span>

#include "text/vocabulary.h"

namespace jericho {

// log sum_v exp(logits[v]), at least one.
double log_sum_exp(std::span<const float> logits);

// log softmax(logits)[token], nats. Error(kInput) when the row has no such token.
double log_probability(std::span<const float> logits, TokenId token);

}  // namespace jericho
