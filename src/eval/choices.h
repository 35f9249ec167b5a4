// Multiple choice as lm-eval-harness scores it (Gao et al. 2021, lm_eval/api/model.py and task.py): of each choice the
// log-likelihood after the question, and the largest is the model's answer. What differs: no second space between a
// context that ends in white space and its choice. Start at encode_question() and accuracy(); choice_scorer.h runs the
// model.                                                                                 Details: docs/evaluation.md
#pragma once

#include <span>
#include <vector>

#include "eval/choices_file.h"
#include "eval/estimate.h"
#include "text/tokenizer.h"

namespace jericho {

// The continuation is " " + choice; choice alone where it begins with white space or the context ends with it. White
// space at the context's end moves to the continuation. Its ids are those of both texts together beyond as many as the
// context alone has.
struct EncodedQuestion {
  Index line = 0;                                     // of the file
  std::vector<TokenId> context{};                     // BOS in front where the model wants it; never empty
  std::vector<std::vector<TokenId>> continuations{};  // per choice, none empty
};

// Error(kInput) naming the line when a choice has no token of its own, or when there is nothing to begin with: no
// context, no BOS, no EOS.
EncodedQuestion encode_question(const Tokenizer& tokenizer, const ChoiceQuestion& question);

// Ids that a choice feeds to the model: context and continuation without its last.
Index input_tokens(const EncodedQuestion& question, std::size_t choice);
Index longest_input(std::span<const EncodedQuestion> questions);
// How many questions have a choice that does not fit `context` tokens and is cut at the left.
Index truncated_questions(std::span<const EncodedQuestion> questions, Index context);

struct ChoiceAccuracy {
  Index questions = 0;
  Index choices = 0;
  Index truncated = 0;               // questions; set by who knows the context
  Estimate acc{};                    // the largest log-likelihood is the right choice's
  Estimate acc_norm{};               // the largest log-likelihood per character (code point) of the choice
  Estimate acc_token{};              // the largest log-likelihood per token of the continuation
  Estimate gold{};                   // log-likelihood of the right choice, nats
  double chance = 0;                 // accuracy of guessing: mean of 1 / choices
  std::vector<double> right{};       // per question 1 or 0: acc
  std::vector<double> right_norm{};  // acc_norm
};

// `log_likelihoods` has one number per choice of each question. Of equal ones the lower index is taken. At least one
// question.
ChoiceAccuracy accuracy(std::span<const ChoiceQuestion> questions, std::span<const EncodedQuestion> encoded,
                        std::span<const std::vector<double>> log_likelihoods);

}  // namespace jericho
