// The largest logit is taken out first, so that nothing overflows.
#include "eval/log_probability.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "base/error.h"
#include "base/math.h"

namespace jericho {

double log_sum_exp(std::span<const float> logits) {
  const double maximum = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += exp_double(static_cast<double>(logit) - maximum);
  return maximum + log_double(sum);
}

double log_probability(std::span<const float> logits, TokenId token) {
  const auto at = static_cast<std::size_t>(token);
  if (token < 0 || at >= logits.size()) {  // the last token of a text is never read by a forward(), which would look
    throw Error(
        ErrorKind::kInput,
        fmt::format("token id {} of the text is not in the model's vocabulary of {}; is the tokenizer another's?",
                    token, logits.size()));
  }
  return static_cast<double>(logits[at]) - log_sum_exp(logits);
}

}  // namespace jericho
