// Scoring windows: see perplexity.h. Probabilities in double with base/math.h, rows over the pool, sums in token order,
// so that the figure does not depend on threads or chunks.
#include "eval/perplexity.h"

#include <algorithm>
#include <numbers>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/math.h"
#include "eval/log_probability.h"

namespace jericho {
namespace {

Index argmax(std::span<const float> logits) { return std::max_element(logits.begin(), logits.end()) - logits.begin(); }

double kl_divergence(std::span<const float> reference, std::span<const float> model) {
  const double reference_norm = log_sum_exp(reference);
  const double model_norm = log_sum_exp(model);
  double sum = 0;
  for (std::size_t v = 0; v < reference.size(); ++v) {
    const double log_p = static_cast<double>(reference[v]) - reference_norm;
    sum += exp_double(log_p) * (log_p - (static_cast<double>(model[v]) - model_norm));
  }
  return sum;
}

struct Scores {  // one entry per scored token, in order
  std::vector<double> nll;
  std::vector<double> kl;
  std::vector<double> same_top;
};

// Feeds one window to both sessions in step and scores its second half.
class WindowScorer {
 public:
  WindowScorer(const Context& context, Session& session, Session* reference)
      : context_(context), session_(session), reference_(reference) {}

  void score(std::span<const TokenId> window, Scores& scores) {
    const SequenceId model_sequence = session_.open();
    const SequenceId reference_sequence = reference_ != nullptr ? reference_->open() : 0;
    const auto first_scored = static_cast<Index>(window.size()) / 2;
    const Index chunk = reference_ != nullptr ? std::min(session_.chunk(), reference_->chunk()) : session_.chunk();
    const auto size = static_cast<Index>(window.size());
    for (Index begin = 0; begin < size;) {
      const bool scored = begin >= first_scored;
      const Index end = std::min(begin + chunk, scored ? size : first_scored);
      const BatchItem item = {model_sequence,
                              window.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
                              scored ? LogitRows::kAll : LogitRows::kNone};
      const auto logits = session_.forward({&item, 1});
      MatrixView<const float> reference_logits;
      if (reference_ != nullptr) {
        BatchItem reference_item = item;
        reference_item.sequence = reference_sequence;
        reference_logits = reference_->forward({&reference_item, 1});
      }
      if (scored) score_rows(window, begin, end, logits, reference_logits, scores);
      begin = end;
    }
    session_.close(model_sequence);
    if (reference_ != nullptr) reference_->close(reference_sequence);
  }

 private:
  void score_rows(std::span<const TokenId> window, Index begin, Index end, MatrixView<const float> logits,
                  MatrixView<const float> reference_logits, Scores& scores) {
    const Index rows =
        std::min(end, static_cast<Index>(window.size()) - 1) - begin;  // the last token predicts nothing here
    const std::size_t base = scores.nll.size();
    scores.nll.resize(base + static_cast<std::size_t>(rows));
    if (reference_ != nullptr) {
      scores.kl.resize(scores.nll.size());
      scores.same_top.resize(scores.nll.size());
    }
    const auto score_row = [&](Index r, int) {
      const auto row = logits.row(r);
      const auto at = base + static_cast<std::size_t>(r);
      scores.nll[at] = -log_probability(row, window[static_cast<std::size_t>(begin + r + 1)]);
      if (reference_ == nullptr) return;
      scores.kl[at] = kl_divergence(reference_logits.row(r), row);
      scores.same_top[at] = argmax(reference_logits.row(r)) == argmax(row) ? 1 : 0;
    };
    context_.pool.run(rows, std::ref(score_row));
  }

  const Context& context_;
  Session& session_;
  Session* reference_;
};

}  // namespace

Perplexity perplexity(const Context& context, Session& session, Session* reference, const PerplexityInput& input,
                      const std::stop_token& stop, const std::function<void(Index, Index)>& progress) {
  JERICHO_CHECK(input.context >= 4 && input.context <= session.context(), "windows of {} in a context of {}",
                input.context, session.context());
  const Index windows = static_cast<Index>(input.ids.size()) / input.context;
  if (windows == 0) {
    throw Error(ErrorKind::kInput,
                fmt::format("the text has {} tokens, less than one window of {}; give a longer text or a smaller -c",
                            input.ids.size(), input.context));
  }
  WindowScorer scorer(context, session, reference);
  Scores scores;
  Index bytes = 0;
  std::vector<TokenId> window(static_cast<std::size_t>(input.context));
  for (Index w = 0; w < windows; ++w) {
    if (stop.stop_requested())
      throw Error(ErrorKind::kInterrupted, fmt::format("interrupted after {} of {} windows", w, windows));
    std::copy_n(input.ids.begin() + w * input.context, input.context, window.begin());
    if (input.bos) window[0] = *input.bos;
    scorer.score(window, scores);
    for (Index j = input.context / 2 + 1; j < input.context; ++j)
      bytes += input.bytes(window[static_cast<std::size_t>(j)]);
    if (progress) progress(w + 1, windows);
  }
  Perplexity result;
  result.windows = windows;
  result.tokens = static_cast<Index>(scores.nll.size());
  result.bytes = bytes;
  result.nll = estimate(scores.nll);
  result.ppl = exp_double(result.nll.mean);
  result.ppl_stderr = result.ppl * result.nll.standard_error;
  if (bytes > 0)
    result.bits_per_byte =
        result.nll.mean * static_cast<double>(result.tokens) / static_cast<double>(bytes) / std::numbers::ln2;
  if (reference != nullptr) result.divergence = Divergence{estimate(scores.kl), estimate(scores.same_top)};
  return result;
}

}  // namespace jericho
