// Scoring passages: see perplexity.h. Probabilities in double with base/math.h, rows over the pool, sums in token
// order, so that the figure does not depend on threads or chunks.
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

// Feeds one passage to both sessions in step and scores what is to be scored.
class PassageScorer {
 public:
  PassageScorer(const Context& context, Session& session, Session* reference)
      : context_(context), session_(session), reference_(reference) {}

  void score(const Passage& passage, Scores& scores) {
    const std::span<const TokenId> window(passage.ids);
    const SequenceId model_sequence = session_.open();
    const SequenceId reference_sequence = reference_ != nullptr ? reference_->open() : 0;
    const Index chunk = reference_ != nullptr ? std::min(session_.chunk(), reference_->chunk()) : session_.chunk();
    const auto size = static_cast<Index>(window.size());
    for (Index begin = 0; begin < size;) {
      const bool scored = begin >= passage.first;
      const Index end = std::min(begin + chunk, scored ? size : passage.first);
      const BatchItem item = {
          model_sequence, window.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
          scored ? LogitRows::kAll : LogitRows::kNone, scored ? KvReading::kSelected : KvReading::kAll};
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

std::vector<Passage> windows_of(const Tokenizer& tokenizer, std::span<const TokenId> ids, Index context) {
  JERICHO_CHECK(context >= 4, "windows of {}", context);
  const Index windows = std::ssize(ids) / context;
  if (windows == 0) {
    throw Error(ErrorKind::kInput,
                fmt::format("the text has {} tokens, less than one window of {}; give a longer text or a smaller -c",
                            ids.size(), context));
  }
  std::vector<Passage> passages;
  for (Index w = 0; w < windows; ++w) {
    Passage passage{.first = context / 2};
    const auto begin = ids.begin() + w * context;
    passage.ids.assign(begin, begin + context);
    if (tokenizer.adds_bos() && tokenizer.bos()) passage.ids[0] = *tokenizer.bos();
    for (Index j = passage.first + 1; j < context; ++j)
      passage.bytes += std::ssize(tokenizer.piece(passage.ids[static_cast<std::size_t>(j)]));
    passages.push_back(std::move(passage));
  }
  return passages;
}

std::vector<Passage> documents_of(const Tokenizer& tokenizer, std::string_view text, std::string_view separator,
                                  Index context) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<Passage> passages;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    std::string_view document = text.substr(at, end - at);
    at = end + separator.size();
    document.remove_prefix(std::min(document.find_first_not_of(kSpace), document.size()));
    document = document.substr(0, document.find_last_not_of(kSpace) + 1);
    Passage passage{.ids = tokenizer.encode(document)};
    if (std::ssize(passage.ids) > context) passage.ids.resize(static_cast<std::size_t>(context));
    if (passage.ids.size() < 2 || document.empty()) continue;
    const std::size_t unscored = 1;
    passage.bytes = std::ssize(tokenizer.decode(std::span<const TokenId>(passage.ids).subspan(unscored)));
    passages.push_back(std::move(passage));
  }
  if (passages.empty())
    throw Error(ErrorKind::kInput, fmt::format("the text has no document between separators '{}'", separator));
  return passages;
}

Perplexity perplexity(const Context& context, Session& session, Session* reference, std::span<const Passage> passages,
                      const std::stop_token& stop, const std::function<void(Index, Index)>& progress) {
  PassageScorer scorer(context, session, reference);
  Scores scores;
  Index bytes = 0, done = 0;
  for (const Passage& passage : passages) {
    if (stop.stop_requested())
      throw Error(ErrorKind::kInterrupted, fmt::format("interrupted after {} of {} passages", done, passages.size()));
    JERICHO_CHECK(std::ssize(passage.ids) <= session.context(), "a passage of {} in a context of {}",
                  passage.ids.size(), session.context());
    scorer.score(passage, scores);
    bytes += passage.bytes;
    if (progress) progress(++done, std::ssize(passages));
  }
  Perplexity result;
  result.passages = std::ssize(passages);
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
