// Texts to ids and numbers to accuracies: see choices.h.
#include "eval/choices.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "text/unicode.h"

namespace jericho {
namespace {

std::size_t without_trailing_space(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    const CodePoint last = decode_utf8_before(text, end);
    if (!last.valid || !is_white_space(last.value)) break;
    end -= last.size;
  }
  return end;
}

// As many as Python's len() counts.
Index code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::size_t argmax(std::span<const double> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

EncodedQuestion encode_question(const Tokenizer& tokenizer, const ChoiceQuestion& question) {
  const EncodeOptions plain = {.add_bos = false};  // nothing after the text: it goes on
  const std::string_view text = question.context;
  const std::size_t end = without_trailing_space(text);
  const std::vector<TokenId> context_ids = tokenizer.encode(text.substr(0, end), plain);

  EncodedQuestion encoded;
  encoded.line = question.line;
  if (tokenizer.adds_bos()) encoded.context.push_back(*tokenizer.bos());
  encoded.context.insert(encoded.context.end(), context_ids.begin(), context_ids.end());
  if (encoded.context.empty()) {
    const auto first = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!first) {
      throw Error(ErrorKind::kInput, fmt::format("line {}: the context is empty, and the model has neither BOS nor EOS "
                                                 "to begin with; give a context",
                                                 question.line));
    }
    encoded.context.push_back(*first);
  }
  for (const std::string& choice : question.choices) {
    const CodePoint first = decode_utf8(choice, 0);
    const bool spaced = end < text.size() || (first.valid && is_white_space(first.value));
    const std::string whole = fmt::format("{}{}{}", text, spaced ? "" : " ", choice);
    const std::vector<TokenId> ids = tokenizer.encode(whole, plain);
    if (ids.size() <= context_ids.size()) {
      throw Error(ErrorKind::kInput,
                  fmt::format("line {}: choice {} has no token of its own after the context; is it one text with it?",
                              question.line, encoded.continuations.size()));
    }
    encoded.continuations.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(context_ids.size()), ids.end());
  }
  return encoded;
}

Index input_tokens(const EncodedQuestion& question, std::size_t choice) {
  return static_cast<Index>(question.context.size() + question.continuations[choice].size()) - 1;
}

Index longest_input(std::span<const EncodedQuestion> questions) {
  Index longest = 0;
  for (const EncodedQuestion& question : questions) {
    for (std::size_t c = 0; c < question.continuations.size(); ++c)
      longest = std::max(longest, input_tokens(question, c));
  }
  return longest;
}

Index truncated_questions(std::span<const EncodedQuestion> questions, Index context) {
  return std::count_if(questions.begin(), questions.end(), [&](const EncodedQuestion& question) {
    return longest_input({&question, 1}) > context;
  });
}

ChoiceAccuracy accuracy(std::span<const ChoiceQuestion> questions, std::span<const EncodedQuestion> encoded,
                        std::span<const std::vector<double>> log_likelihoods) {
  JERICHO_CHECK(questions.size() == encoded.size() && questions.size() == log_likelihoods.size(),
                "{} questions, {} encoded, {} scored", questions.size(), encoded.size(), log_likelihoods.size());
  ChoiceAccuracy result;
  std::vector<double> right_token;
  std::vector<double> gold;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    const std::vector<double>& sums = log_likelihoods[q];
    const auto right = static_cast<std::size_t>(questions[q].gold);
    std::vector<double> per_character(sums.size());
    std::vector<double> per_token(sums.size());
    for (std::size_t c = 0; c < sums.size(); ++c) {
      per_character[c] = sums[c] / static_cast<double>(code_points(questions[q].choices[c]));
      per_token[c] = sums[c] / static_cast<double>(encoded[q].continuations[c].size());
    }
    result.right.push_back(argmax(sums) == right ? 1 : 0);
    result.right_norm.push_back(argmax(per_character) == right ? 1 : 0);
    right_token.push_back(argmax(per_token) == right ? 1 : 0);
    gold.push_back(sums[right]);
    result.chance += 1 / static_cast<double>(sums.size());
    result.choices += static_cast<Index>(sums.size());
  }
  result.questions = static_cast<Index>(questions.size());
  result.chance /= static_cast<double>(questions.size());
  result.acc = estimate(result.right);
  result.acc_norm = estimate(result.right_norm);
  result.acc_token = estimate(right_token);
  result.gold = estimate(gold);
  return result;
}

}  // namespace jericho
