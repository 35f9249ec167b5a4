// The sampler's steps, each with its formula and source: see sampler.h. p is the softmax over the candidates that the
// steps before have left, l their logits, ln the natural logarithm. Most steps need few tokens of a vocabulary of
// 100,000, so the logits stay one dense array until a step drops some; list() is where that changes.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/math.h"
#include "base/philox.h"

namespace jericho {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr double kGreedyBelow = 1e-5;  // as in vLLM: dividing by less would leave nothing but the largest logit anyway

// The order of candidates everywhere; ties go to the lower id.
bool better(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// Logits stay finite whatever the options: only the model and the masks say -infinity.
float to_logit(double value) {
  constexpr double kLimit = std::numeric_limits<float>::max();
  if (value == -std::numeric_limits<double>::infinity()) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(std::clamp(value, -kLimit, kLimit));
}

bool allowed(float logit) { return logit > -std::numeric_limits<float>::infinity(); }

// Whether a step would do anything.
bool active(SamplerStep step, const SamplingOptions& options) {
  switch (step) {
    case SamplerStep::kPenalties:
      return options.repeat_penalty != 1 || options.presence_penalty != 0 || options.frequency_penalty != 0;
    case SamplerStep::kDry: return options.dry_multiplier > 0 && options.dry_penalty_last_n != 0;
    case SamplerStep::kTopNSigma: return options.top_n_sigma > 0;
    case SamplerStep::kTopK: return options.top_k > 0;
    case SamplerStep::kTypical: return options.typical_p < 1;
    case SamplerStep::kTopP: return options.top_p < 1;
    case SamplerStep::kMinP: return options.min_p > 0;
    case SamplerStep::kXtc: return options.xtc_probability > 0 && options.xtc_threshold <= 0.5;
    case SamplerStep::kTemperature: return options.temperature != 1 || options.dynatemp_range > 0;
  }
  return false;
}

// How many steps of the chain may change which candidate is the most probable.
Index steps_before_argmax(const std::vector<SamplerStep>& chain) {
  Index steps = 0;
  for (Index i = 0; i < std::ssize(chain); ++i) {
    if (chain[i] == SamplerStep::kTemperature) break;  // leaves one candidate
    if (chain[i] == SamplerStep::kPenalties || chain[i] == SamplerStep::kDry || chain[i] == SamplerStep::kTypical ||
        chain[i] == SamplerStep::kXtc) {
      steps = i + 1;
    }
  }
  return steps;
}

// For each token, the length of the longest suffix of the window that also stands right before an earlier occurrence of
// the token. Z-function (Gusfield 1997, "Algorithms on strings, trees, and sequences", section 1.4) of the reversed
// window; `limit` is where the suffix ends at the latest.
std::unordered_map<TokenId, Index> repeated_suffixes(std::span<const TokenId> window, Index limit) {
  const Index n = std::ssize(window);
  const auto reversed = [&](Index i) { return window[static_cast<std::size_t>(n - 1 - i)]; };
  std::unordered_map<TokenId, Index> lengths;
  std::vector<std::int32_t> z(static_cast<std::size_t>(n));
  for (Index i = 1, left = 0, right = 0; i < n; ++i) {
    Index length = i < right ? std::min<Index>(right - i, z[i - left]) : 0;
    while (i + length < n && reversed(length) == reversed(i + length)) ++length;
    z[i] = static_cast<std::int32_t>(length);
    if (i + length > right) left = i, right = i + length;
    if (length > 0) {
      Index& longest = lengths[reversed(i - 1)];
      longest = std::max(longest, std::min(length, limit));
    }
  }
  return lengths;
}

}  // namespace

double draw_uniform(std::uint64_t seed, std::uint32_t choice, Index position, Index draw_index, DrawPurpose purpose) {
  constexpr Index kWords = Index{1} << 32;
  JERICHO_CHECK(position >= 0 && position < kWords && draw_index >= 0 && draw_index < kWords, "position {}, draw {}",
                position, draw_index);
  const PhiloxCounter bits = philox4x32({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(draw_index),
                                         static_cast<std::uint32_t>(purpose), choice},
                                        {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return uniform_double(bits[0], bits[1]);
}

std::vector<bool> dry_breaker_tokens(std::span<const std::string> breakers, Index vocab,
                                     const std::function<std::string(TokenId)>& piece) {
  std::vector<bool> tokens(static_cast<std::size_t>(vocab));
  for (Index id = 0; id < vocab; ++id) {
    const std::string text = piece(static_cast<TokenId>(id));
    tokens[id] = std::any_of(breakers.begin(), breakers.end(), [&text](const std::string& breaker) {
      return !breaker.empty() && text.find(breaker) != std::string::npos;
    });
  }
  return tokens;
}

Sampler::Sampler(SamplingOptions options, Index vocab, std::vector<bool> dry_breakers)
    : options_(std::move(options)),
      vocab_(vocab),
      dry_breakers_(std::move(dry_breakers)),
      logits_(static_cast<std::size_t>(vocab)) {
  options_.validate();
  JERICHO_CHECK(vocab > 0, "a vocabulary of {}", vocab);
  JERICHO_CHECK(dry_breakers_.empty() || std::ssize(dry_breakers_) == vocab, "breakers for {} tokens, vocabulary {}",
                dry_breakers_.size(), vocab);
  for (const auto& [token, bias] : options_.logit_bias) {
    if (token >= vocab) {
      throw Error(ErrorKind::kUsage, fmt::format("--logit-bias {}: expected a token id below {}", token, vocab));
    }
  }
  greedy_ = options_.temperature < kGreedyBelow;
  mu_ = 2 * options_.mirostat_tau;
  using Steps = std::vector<SamplerStep>;
  const Steps& order =
      options_.mirostat == 0 ? options_.order : Steps{SamplerStep::kPenalties, SamplerStep::kTemperature};
  for (const SamplerStep step : order) {
    if (active(step, options_)) chain_.push_back(step);
  }
  steps_before_argmax_ = steps_before_argmax(chain_);
  counting_ = std::find(chain_.begin(), chain_.end(), SamplerStep::kPenalties) != chain_.end();
}

Bytes Sampler::memory_bytes(Index context) const {
  constexpr Index kMapEntry = 64;  // a node of unordered_map with its bucket and the allocator's header, rounded up
  const auto lists = [this](SamplerStep step) {  // or cuts, which ends the question
    const bool plain_temperature = step == SamplerStep::kTemperature && options_.dynatemp_range <= 0;
    return step != SamplerStep::kPenalties && step != SamplerStep::kDry && !plain_temperature;
  };
  const auto end = chain_.begin() + (greedy_ ? steps_before_argmax_ : std::ssize(chain_));
  const auto first = std::find_if(chain_.begin(), end, lists);
  const bool few = first != end ? *first == SamplerStep::kTopK : greedy_;
  const Index candidates = few ? std::min(vocab_, std::max<Index>(1, options_.top_k)) : vocab_;
  const bool watches = counting_ || options_.dry_multiplier > 0;
  const Index counts_and_suffixes = watches ? std::min(vocab_, context) * 2 * kMapEntry + 4 * context : 0;
  const Index history = 2 * static_cast<Index>(sizeof(TokenId)) * context;  // a vector may be half empty
  return {candidates * static_cast<Index>(sizeof(Candidate)) + static_cast<Index>(dry_breakers_.size() / 8) + history +
          counts_and_suffixes};
}

void Sampler::accept_prompt(std::span<const TokenId> prompt) {
  history_.reserve(history_.size() + prompt.size());
  for (const TokenId token : prompt) count(token, false);
}

void Sampler::accept(TokenId token) {
  // Mirostat (Basu et al. 2021, arXiv:2007.14966, algorithm 1): mu -= eta (surprise - tau).
  if (surprise_ && surprise_->token == token) mu_ -= options_.mirostat_eta * (surprise_->bits - options_.mirostat_tau);
  surprise_.reset();
  count(token, true);
}

void Sampler::count(TokenId token, bool output) {
  JERICHO_CHECK(token >= 0 && token < vocab_, "token {}, vocabulary {}", token, vocab_);
  history_.push_back(token);
  if (!counting_) return;
  Counts& counts = counts_[token];
  counts.window += 1;
  counts.output += output ? 1 : 0;
  const Index leaving = std::ssize(history_) - 1 - options_.repeat_last_n;
  if (options_.repeat_last_n < 0 || leaving < 0) return;
  const auto gone = counts_.find(history_[leaving]);
  gone->second.window -= 1;
  if (gone->second.window == 0 && gone->second.output == 0) counts_.erase(gone);
}

TokenId Sampler::sample(std::span<const float> logits, Index position) {
  load(logits, position);
  const Index steps = greedy_ ? steps_before_argmax_ : std::ssize(chain_);
  for (Index i = 0; i < steps; ++i) apply(chain_[i], position, i);
  const double u = draw_uniform(options_.seed, options_.choice, position, 0, DrawPurpose::kToken);
  if (greedy_) keep_best();
  surprise_.reset();
  if (options_.mirostat == 0) return draw(u);
  if (options_.mirostat == 1) {
    mirostat_1();
  } else {
    mirostat_2();
  }
  const TokenId token = draw(u);
  const auto chosen =
      std::find_if(candidates_.begin(), candidates_.end(), [token](const Candidate& c) { return c.id == token; });
  surprise_ = {token, -log_double(chosen->probability) / kLn2};
  return token;
}

void Sampler::load(std::span<const float> logits, Index position) {
  JERICHO_CHECK(std::ssize(logits) == vocab_, "{} logits, vocabulary {}", logits.size(), vocab_);
  bool sound = true;  // false for NaN and +infinity
  for (const float logit : logits) sound &= logit < std::numeric_limits<float>::infinity();
  if (!sound) {
    throw Error(ErrorKind::kInput,
                fmt::format("sample at position {}: the model gave a logit that is NaN or +infinity; "
                            "are the weights damaged?",
                            position));
  }
  std::copy(logits.begin(), logits.end(), logits_.begin());
  for (const auto& [token, bias] : options_.logit_bias) logits_[token] = to_logit(double{logits_[token]} + bias);
  if (std::none_of(logits_.begin(), logits_.end(), allowed)) {
    throw Error(ErrorKind::kInput,
                fmt::format("sample at position {}: every token is forbidden; do grammar, logit bias and "
                            "masks leave one?",
                            position));
  }
  candidates_.clear();
  dense_ = true;
  sorted_ = false;
}

void Sampler::apply(SamplerStep step, Index position, Index step_index) {
  switch (step) {
    case SamplerStep::kPenalties: return penalties();
    case SamplerStep::kDry: return dry();
    case SamplerStep::kTopNSigma: return top_n_sigma();
    case SamplerStep::kTopK: return top_k(options_.top_k);
    case SamplerStep::kTypical: return typical();
    case SamplerStep::kTopP: return top_p();
    case SamplerStep::kMinP: return min_p();
    case SamplerStep::kXtc:
      return xtc(draw_uniform(options_.seed, options_.choice, position, step_index, DrawPurpose::kXtc));
    case SamplerStep::kTemperature: return temperature();
  }
}

// Repetition: l / R for positive l, else l R (Keskar et al. 2019, CTRL, arXiv:1909.05858, section 4.1; the sign rule is
// that of later practice). Frequency and presence, as OpenAI's API documents them: l - c F - [c > 0] P, c the number of
// occurrences.
void Sampler::penalties() {
  const bool output_only = options_.penalty_scope == PenaltyScope::kOutput;
  change_logits(counts_, [&](float logit, const Counts& counts) {
    const Index c = output_only ? counts.output : counts.window;
    double l = logit;
    if (counts.window > 0) l = l <= 0 ? l * options_.repeat_penalty : l / options_.repeat_penalty;
    if (c > 0) l -= static_cast<double>(c) * options_.frequency_penalty + options_.presence_penalty;
    return to_logit(l);
  });
}

// DRY, "don't repeat yourself" (p-e-w 2024, text-generation-webui pull request 5677): a token that would extend a
// repetition of r tokens, r >= allowed, loses multiplier * base^(r - allowed). Breakers end a repetition and are never
// penalized.
void Sampler::dry() {
  const Index size = std::ssize(history_);
  const Index n = options_.dry_penalty_last_n < 0 ? size : std::min(size, options_.dry_penalty_last_n);
  const auto window = std::span(history_).last(static_cast<std::size_t>(n));
  const auto breaks = [this](TokenId token) { return !dry_breakers_.empty() && dry_breakers_[token]; };
  const Index limit = std::find_if(window.rbegin(), window.rend(), breaks) - window.rbegin();
  if (limit < options_.dry_allowed_length) return;
  auto suffixes = repeated_suffixes(window, limit);
  std::erase_if(suffixes,
                [&](const auto& entry) { return entry.second < options_.dry_allowed_length || breaks(entry.first); });
  constexpr double kLargest = 88.7;  // ln of the largest float, about
  change_logits(suffixes, [&](float logit, Index r) {
    const auto extra = static_cast<double>(r - options_.dry_allowed_length);
    const double power = std::min(extra * log_double(options_.dry_base), kLargest);
    const double factor = power < kLargest ? pow_double(options_.dry_base, extra) : exp_double(kLargest);
    return to_logit(logit - options_.dry_multiplier * factor);
  });
}

// Top-n-sigma (Tang et al. 2024, arXiv:2411.07641, section 3): l >= max - n sigma, sigma the standard deviation of all
// logits.
void Sampler::top_n_sigma() {
  double sum = 0;
  double squares = 0;
  Index n = 0;
  const auto each_logit = [this](auto visit) {
    if (dense_) {
      for (const float logit : logits_) {
        if (allowed(logit)) visit(double{logit});
      }
    } else {
      for (const Candidate& candidate : candidates_) visit(double{candidate.logit});
    }
  };
  each_logit([&](double l) { sum += l, ++n; });
  const double mean = sum / static_cast<double>(n);
  each_logit([&](double l) { squares += (l - mean) * (l - mean); });
  keep_at_least(max_logit() - options_.top_n_sigma * std::sqrt(squares / static_cast<double>(n)));
}

// Top-k (Fan et al. 2018, arXiv:1805.04833, section 5.4).
void Sampler::top_k(Index k) {
  if (!dense_) {
    if (k >= std::ssize(candidates_)) return;
    if (!sorted_) std::partial_sort(candidates_.begin(), candidates_.begin() + k, candidates_.end(), better);
    candidates_.resize(static_cast<std::size_t>(k));
    sorted_ = true;
    return;
  }
  // One pass with the k best so far in a heap, the worst of them in front. An equal logit comes later, so its id is
  // higher.
  candidates_.clear();
  float entry = -std::numeric_limits<float>::infinity();
  for (Index id = 0; id < vocab_; ++id) {
    if (!(logits_[id] > entry)) continue;
    if (std::ssize(candidates_) == k) {
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.pop_back();
    }
    candidates_.push_back({static_cast<TokenId>(id), logits_[id], 0});
    std::push_heap(candidates_.begin(), candidates_.end(), better);
    if (std::ssize(candidates_) == k) entry = candidates_.front().logit;
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), better);
  dense_ = false;
  sorted_ = true;
}

// Locally typical sampling (Meister et al. 2023, arXiv:2202.00666, section 4): those whose information -ln p is closest
// to the entropy H, until their probabilities sum to more than typical_p.
void Sampler::typical() {
  softmax();
  const double H = entropy();
  const double max = max_logit();
  double best = 0;
  for (Candidate& candidate : candidates_) {
    best = std::max(best, candidate.probability);
    candidate.probability =
        std::abs(-log_double(candidate.probability) - H);  // its rank from here; infinite where p is 0
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability < b.probability : a.id < b.id;
  });
  double total = 0;
  Index kept = 0;
  while (kept < std::ssize(candidates_) && (total <= options_.typical_p || kept < options_.min_keep)) {
    total += best * exp_double(candidates_[kept].logit - max);
    ++kept;
  }
  candidates_.resize(static_cast<std::size_t>(kept));
  sorted_ = false;
  sort();
}

// Top-p, the nucleus (Holtzman et al. 2020, arXiv:1904.09751, section 3.1): the shortest run of the most probable whose
// probabilities sum to at least p. Sorted in runs of growing length, for few tokens of the vocabulary are needed.
void Sampler::top_p() {
  softmax();
  const Index n = std::ssize(candidates_);
  const auto begin = candidates_.begin();
  double total = 0;
  for (Index done = 0, next = std::min<Index>(64, n); done < n; done = next, next = std::min(4 * next, n)) {
    if (!sorted_) {
      if (next < n) std::nth_element(begin + done, begin + next, candidates_.end(), better);
      std::sort(begin + done, begin + next, better);
    }
    for (Index i = done; i < next; ++i) {
      total += candidates_[i].probability;
      if (total >= options_.top_p && i + 1 >= options_.min_keep) {
        candidates_.resize(static_cast<std::size_t>(i + 1));
        sorted_ = true;
        return;
      }
    }
  }
  sorted_ = true;
}

// Min-p (Nguyen et al. 2024, arXiv:2407.01082, section 3): p >= min_p max(p), that is l >= max(l) + ln(min_p).
void Sampler::min_p() {
  const double least = max_logit() + log_double(options_.min_p);
  if (options_.min_keep > 1) {
    list();
    const auto kept = std::count_if(candidates_.begin(), candidates_.end(),
                                    [least](const Candidate& c) { return double{c.logit} >= least; });
    if (kept < options_.min_keep) return top_k(options_.min_keep);
  }
  keep_at_least(least);
}

// XTC, "exclude top choices" (p-e-w 2024, text-generation-webui pull request 6335): with the given probability, of the
// tokens with p >= threshold all but the least probable are dropped.
void Sampler::xtc(double u) {
  if (u > options_.xtc_probability) return;
  softmax();
  sort();
  const auto choices = std::find_if(candidates_.begin(), candidates_.end(),
                                    [this](const Candidate& c) { return c.probability < options_.xtc_threshold; }) -
                       candidates_.begin();
  if (choices < 2 || std::ssize(candidates_) - (choices - 1) < options_.min_keep) return;
  candidates_.erase(candidates_.begin(), candidates_.begin() + (choices - 1));
}

// l / T. Dynamic (kalomaze 2023, koboldcpp; EDT of Zhang et al. 2024, arXiv:2403.14541, has the same aim): T rises from
// temperature - range to temperature + range with the entropy's share of its maximum ln n, to a power.
void Sampler::temperature() {
  double T = options_.temperature;
  if (options_.dynatemp_range > 0) {
    softmax();
    if (candidates_.size() < 2) return;
    const double low = std::max(0.0, T - options_.dynatemp_range);
    const double high = T + options_.dynatemp_range;
    const double share = std::max(0.0, entropy() / log_double(static_cast<double>(candidates_.size())));
    T = low + (high - low) * pow_double(share, options_.dynatemp_exponent);
    if (T < kGreedyBelow) return keep_best();
  }
  scale_logits(T);
}

// Mirostat 1 (Basu et al. 2021, arXiv:2007.14966, algorithm 1, equations 30 and 31): estimates the exponent s of Zipf's
// law from the most probable tokens and sets k so that the expected surprise is mu.
void Sampler::mirostat_1() {
  constexpr Index kTop = 100;  // m in the paper
  list();
  const Index top = std::min(kTop, std::ssize(candidates_));
  if (!sorted_) std::partial_sort(candidates_.begin(), candidates_.begin() + top, candidates_.end(), better);
  double products = 0;  // sum of t_i b_i, t_i = ln((i+2)/(i+1)), b_i = ln(p_i/p_{i+1})
  double squares = 0;   // sum of t_i^2
  for (Index i = 0; i + 1 < top; ++i) {
    const double t = log_double(static_cast<double>(i + 2) / static_cast<double>(i + 1));
    products += t * (double{candidates_[i].logit} - candidates_[i + 1].logit);
    squares += t * t;
  }
  const double s = top > 1 ? products / squares : 0;
  if (s < 1e-6) return sort();  // as good as uniform: k is beyond any vocabulary
  const double epsilon = s - 1;
  const double V = static_cast<double>(vocab_);
  const double ratio = std::abs(epsilon) < 1e-9 ? 1 / log_double(V) : epsilon / (1 - pow_double(V, -epsilon));
  const double k = pow_double(ratio * pow_double(2, mu_), 1 / s);
  if (!(k < static_cast<double>(candidates_.size()))) return sort();
  top_k(static_cast<Index>(std::max(k, 1.0)));
}

// Mirostat 2 (the reference code of the same paper, and llama.cpp): drops tokens whose surprise -log2 p exceeds mu.
void Sampler::mirostat_2() {
  softmax();
  const double least = pow_double(2, -mu_);
  if (std::none_of(candidates_.begin(), candidates_.end(),
                   [least](const Candidate& c) { return c.probability >= least; })) {
    return keep_best();
  }
  std::erase_if(candidates_, [least](const Candidate& c) { return c.probability < least; });
}

// The first candidate at which the sum of probabilities exceeds u times the whole: u = 0 must not draw a probability of
// 0.
TokenId Sampler::draw(double u) {
  softmax();
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.probability;
  double sum = 0;
  const Candidate* last = nullptr;
  for (const Candidate& candidate : candidates_) {
    if (candidate.probability == 0) continue;
    last = &candidate;
    sum += candidate.probability;
    if (sum > u * total) break;
  }
  return last->id;
}

// Replaces the logit of each token of `tokens` that is still a candidate by change(logit, its value).
template <class Value, class Change>
void Sampler::change_logits(const std::unordered_map<TokenId, Value>& tokens, Change change) {
  if (dense_) {
    for (const auto& [token, value] : tokens) logits_[token] = change(logits_[token], value);
    return;
  }
  bool changed = false;
  for (Candidate& candidate : candidates_) {
    const auto found = tokens.find(candidate.id);
    if (found == tokens.end()) continue;
    candidate.logit = change(candidate.logit, found->second);
    changed = true;
  }
  if (changed && sorted_) std::sort(candidates_.begin(), candidates_.end(), better);
}

void Sampler::scale_logits(double divisor) {
  if (dense_) {
    for (float& logit : logits_) logit = to_logit(double{logit} / divisor);
  } else {
    for (Candidate& candidate : candidates_) candidate.logit = to_logit(double{candidate.logit} / divisor);
  }
}

void Sampler::keep_at_least(double logit) {
  if (dense_) {
    for (float& each : logits_) {
      if (double{each} < logit) each = -std::numeric_limits<float>::infinity();
    }
    list();
  } else {
    std::erase_if(candidates_, [logit](const Candidate& c) { return double{c.logit} < logit; });
  }
}

void Sampler::keep_best() { top_k(1); }

// From the dense logits to candidates, in ascending id.
void Sampler::list() {
  if (!dense_) return;
  candidates_.clear();
  candidates_.reserve(logits_.size());
  for (Index id = 0; id < vocab_; ++id) {
    if (allowed(logits_[id])) candidates_.push_back({static_cast<TokenId>(id), logits_[id], 0});
  }
  dense_ = false;
}

void Sampler::sort() {
  if (!sorted_) std::sort(candidates_.begin(), candidates_.end(), better);
  sorted_ = true;
}

void Sampler::softmax() {
  list();
  const double max = max_logit();
  double total = 0;
  for (Candidate& candidate : candidates_) {
    candidate.probability = exp_double(candidate.logit - max);
    total += candidate.probability;
  }
  for (Candidate& candidate : candidates_) candidate.probability /= total;
}

double Sampler::max_logit() const {
  if (dense_) return *std::max_element(logits_.begin(), logits_.end());
  return std::min_element(candidates_.begin(), candidates_.end(), better)->logit;
}

// -sum p ln p, in nats, of the probabilities that softmax() has set.
double Sampler::entropy() const {
  double sum = 0;
  for (const Candidate& candidate : candidates_) {
    if (candidate.probability > 0) sum -= candidate.probability * log_double(candidate.probability);
  }
  return sum;
}

}  // namespace jericho
