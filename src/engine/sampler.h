// Chooses the next token from the logits of one sequence: penalties, then a chain of steps that drop or reshape
// candidates, then one draw. Steps and options are those of llama.cpp; sampler.cc cites the paper of each beside its
// formula. A draw is a function of (seed, choice, position) and of the tokens before it, never of when or beside what
// it is computed: no libm, doubles throughout the probabilities (base/math.h), ties to the lower id. Start at
// Sampler::sample().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "engine/sampling_options.h"

namespace jericho {

// What a random number is for, so that two uses at one position never share it.
enum class DrawPurpose : std::uint32_t { kToken = 0, kXtc = 1 };

// The random number in [0, 1) for one use (docs/numerics.md 5). Philox has a key of two words and a counter of four:
// the seed is the key, its low word first, and the counter is (position, draw index, purpose, choice). That is one to
// one, so different uses never meet. position and draw_index are below 2^32.
double draw_uniform(std::uint64_t seed, std::uint32_t choice, Index position, Index draw_index, DrawPurpose purpose);

struct Candidate {
  TokenId id = 0;
  float logit = 0;         // after the steps so far; finite
  double probability = 0;  // among the candidates left
};

// Marks the tokens whose text contains one of the breakers: what DRY does not repeat across. `piece` gives a token's
// bytes.
std::vector<bool> dry_breaker_tokens(std::span<const std::string> breakers, Index vocab,
                                     const std::function<std::string(TokenId)>& piece);

// One per sequence, for one thread at a time.
class Sampler {
 public:
  // Throws Error(kUsage) for options out of range. `dry_breakers` by token id, as dry_breaker_tokens() gives them; may
  // be empty.
  explicit Sampler(SamplingOptions options, Index vocab, std::vector<bool> dry_breakers = {});

  // Tells which tokens the sequence holds: first its prompt, then each token that was chosen, by sample() or otherwise.
  void accept_prompt(std::span<const TokenId> prompt);
  void accept(TokenId token);

  // `logits` [V]; -infinity forbids a token. `position` of the token that is chosen, from 0 at the start of the
  // sequence. Changes nothing that a repeated call would see. Throws Error(kInput) when a logit is NaN or +infinity, or
  // all are -infinity.
  TokenId sample(std::span<const float> logits, Index position);

  // What the last sample() chose from, with probabilities that sum to 1. Valid until the next one.
  [[nodiscard]] std::span<const Candidate> candidates() const { return candidates_; }

  [[nodiscard]] const SamplingOptions& options() const { return options_; }

  // The most heap this sampler will add for a sequence of up to `context` tokens, for the ledger: the logits themselves
  // are there since it was made. A chain whose first cut is
  // top_k never lists the whole vocabulary.
  [[nodiscard]] Bytes memory_bytes(Index context) const;

 private:
  struct Counts {
    Index window = 0;  // occurrences among the last repeat_last_n tokens
    Index output = 0;  // occurrences since the prompt
  };
  struct Surprise {
    TokenId token = 0;
    double bits = 0;
  };

  void load(std::span<const float> logits, Index position);
  void apply(SamplerStep step, Index position, Index step_index);
  void penalties();
  void dry();
  void top_n_sigma();
  void top_k(Index k);
  void typical();
  void top_p();
  void min_p();
  void xtc(double u);
  void temperature();
  void mirostat_1();
  void mirostat_2();
  TokenId draw(double u);

  template <class Value, class Change>
  void change_logits(const std::unordered_map<TokenId, Value>& tokens, Change change);
  void scale_logits(double divisor);
  void keep_at_least(double logit);
  void keep_best();
  void list();
  void sort();
  void softmax();
  [[nodiscard]] double max_logit() const;
  [[nodiscard]] double entropy() const;
  void count(TokenId token, bool output);

  SamplingOptions options_;
  Index vocab_;
  std::vector<bool> dry_breakers_;
  std::vector<SamplerStep> chain_{};  // the steps of options_.order that do anything
  Index steps_before_argmax_ = 0;     // when greedy: the steps after these keep the most probable token
  bool greedy_ = false;
  bool counting_ = false;

  std::vector<TokenId> history_{};
  std::unordered_map<TokenId, Counts> counts_{};
  double mu_ = 0;  // mirostat's limit on surprise, in bits
  std::optional<Surprise> surprise_{};

  // The logits of all tokens while `dense_`; from the first step that drops some, those left are listed in candidates_.
  std::vector<float> logits_;
  std::vector<Candidate> candidates_{};
  bool dense_ = true;
  bool sorted_ = false;  // candidates_ run from the most to the least probable; otherwise by ascending id
};

}  // namespace jericho
