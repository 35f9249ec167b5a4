// Each input has two parts: what is only read, and from the last id before the continuation on the rows whose logits
// are scored. A batch takes from every open sequence as much of its present part as the rows of a forward pass allow.
#include "eval/choice_scorer.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "eval/log_probability.h"

namespace jericho {
namespace {

struct OpenChoice {
  std::size_t question = 0;
  std::size_t choice = 0;
  SequenceId sequence = 0;
  std::vector<TokenId> input{};
  std::span<const TokenId> targets{};  // of the last rows, one each
  Index read = 0;
  double sum = 0;

  [[nodiscard]] Index size() const { return static_cast<Index>(input.size()); }
  [[nodiscard]] Index first_scored() const { return size() - static_cast<Index>(targets.size()); }
  [[nodiscard]] bool is_scoring() const { return read >= first_scored(); }
  [[nodiscard]] bool is_done() const { return read == size(); }
  [[nodiscard]] Index part_end() const { return is_scoring() ? size() : first_scored(); }
};

std::vector<TokenId> input_of(const EncodedQuestion& question, std::size_t choice, Index context) {
  std::vector<TokenId> ids = question.context;
  const auto& continuation = question.continuations[choice];
  ids.insert(ids.end(), continuation.begin(), continuation.end() - 1);
  const auto excess = std::max<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(ids.size()) - context, 0);
  ids.erase(ids.begin(), ids.begin() + excess);
  return ids;
}

class ChoiceScorer {
 public:
  ChoiceScorer(const Context& context, Session& session, std::span<const EncodedQuestion> questions,
               const ChoiceBatching& batching)
      : context_(context), session_(session), questions_(questions), batching_(batching) {
    for (const EncodedQuestion& question : questions) {
      sums_.emplace_back(question.continuations.size());
      total_ += static_cast<Index>(question.continuations.size());
    }
  }
  ~ChoiceScorer() {
    for (const OpenChoice& open : open_) session_.close(open.sequence);
  }
  ChoiceScorer(const ChoiceScorer&) = delete;
  ChoiceScorer& operator=(const ChoiceScorer&) = delete;

  [[nodiscard]] Index total() const { return total_; }
  [[nodiscard]] Index done() const { return done_; }
  std::vector<std::vector<double>> take() { return std::move(sums_); }

  void step() {
    while (static_cast<Index>(open_.size()) < batching_.sequences && open_next()) continue;
    std::vector<BatchItem> items;
    std::vector<OpenChoice*> in_batch;
    Index rows = session_.chunk();
    for (OpenChoice& open : open_) {
      const Index take = std::min(rows, open.part_end() - open.read);
      if (take == 0) break;  // no rows left
      const auto tokens =
          std::span(open.input).subspan(static_cast<std::size_t>(open.read), static_cast<std::size_t>(take));
      items.push_back({open.sequence, tokens, open.is_scoring() ? LogitRows::kAll : LogitRows::kNone});
      in_batch.push_back(&open);
      rows -= take;
    }
    const MatrixView<const float> logits = session_.forward(items);
    add_scores(items, in_batch, logits);
    for (const OpenChoice& open : open_) {
      if (open.is_done()) finish(open);
    }
    std::erase_if(open_, [](const OpenChoice& open) { return open.is_done(); });
  }

 private:
  bool open_next() {
    if (question_ == questions_.size()) return false;
    const EncodedQuestion& question = questions_[question_];
    const auto& targets = question.continuations[choice_];
    if (static_cast<Index>(targets.size()) > batching_.context) {
      throw Error(ErrorKind::kInput,
                  fmt::format("line {}: choice {} has {} tokens, the context holds {}; give more with -c",
                              question.line, choice_, targets.size(), batching_.context));
    }
    open_.push_back({.question = question_,
                     .choice = choice_,
                     .sequence = session_.open(),
                     .input = input_of(question, choice_, batching_.context),
                     .targets = targets});
    if (++choice_ == question.continuations.size()) {
      choice_ = 0;
      ++question_;
    }
    return true;
  }

  // Rows over the pool, then each choice's sum in the order of its tokens: the same bits for any batch.
  void add_scores(std::span<const BatchItem> items, std::span<OpenChoice* const> in_batch,
                  MatrixView<const float> logits) {
    std::vector<TokenId> targets;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].logits != LogitRows::kAll) continue;
      const OpenChoice& open = *in_batch[i];
      const auto scored =
          open.targets.subspan(static_cast<std::size_t>(open.read - open.first_scored()), items[i].tokens.size());
      targets.insert(targets.end(), scored.begin(), scored.end());
    }
    std::vector<double> scores(targets.size());
    const auto score_row = [&](Index r, int) {
      const auto at = static_cast<std::size_t>(r);
      scores[at] = log_probability(logits.row(r), targets[at]);
    };
    context_.pool.run(static_cast<Index>(scores.size()), std::ref(score_row));
    auto next = scores.begin();
    for (std::size_t i = 0; i < items.size(); ++i) {
      OpenChoice& open = *in_batch[i];
      if (items[i].logits == LogitRows::kAll) {
        for (std::size_t t = 0; t < items[i].tokens.size(); ++t) open.sum += *next++;
      }
      open.read += static_cast<Index>(items[i].tokens.size());
    }
  }

  void finish(const OpenChoice& open) {
    if (std::isnan(open.sum)) {
      throw Error(ErrorKind::kInput,
                  fmt::format("line {}: the model's log-likelihood of choice {} is not a number; are "
                              "its weights damaged?",
                              questions_[open.question].line, open.choice));
    }
    sums_[open.question][open.choice] = open.sum;
    session_.close(open.sequence);
    ++done_;
  }

  const Context& context_;
  Session& session_;
  std::span<const EncodedQuestion> questions_;
  ChoiceBatching batching_;
  std::vector<std::vector<double>> sums_;
  std::vector<OpenChoice> open_;
  std::size_t question_ = 0;  // the next one to open
  std::size_t choice_ = 0;
  Index total_ = 0;
  Index done_ = 0;
};

}  // namespace

std::vector<std::vector<double>> choice_log_likelihoods(const Context& context, Session& session,
                                                        std::span<const EncodedQuestion> questions,
                                                        const ChoiceBatching& batching, const std::stop_token& stop,
                                                        const std::function<void(Index done, Index total)>& progress) {
  JERICHO_CHECK(batching.context >= 1 && batching.context <= session.context() && batching.sequences >= 1,
                "inputs of {} in a context of {}", batching.context, session.context());
  ChoiceScorer scorer(context, session, questions, batching);
  while (scorer.done() < scorer.total()) {
    if (stop.stop_requested()) {
      throw Error(ErrorKind::kInterrupted,
                  fmt::format("interrupted after {} of {} choices", scorer.done(), scorer.total()));
    }
    scorer.step();
    if (progress) progress(scorer.done(), scorer.total());
  }
  return scorer.take();
}

}  // namespace jericho
