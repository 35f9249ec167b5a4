// Batches over pages: see session.h.
#include "engine/session.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

Arena populated(const Context& context, const Plan& plan, Purpose purpose) {
  return Arena(context.ledger.require(Tier::kRam, purpose, plan.of(purpose)), {.populate = true});
}

std::optional<PagePool> make_pool(const Context& context, const Plan& plan, Purpose purpose, Bytes page_bytes,
                                  NullPage null, KvBacking backing) {
  if (plan.of(purpose) == Bytes{}) return std::nullopt;
  Arena arena(context.ledger.require(Tier::kRam, purpose, plan.of(purpose)),
              {.populate = backing == KvBacking::kPopulate});
  return PagePool(std::move(arena), page_bytes, null);
}

}  // namespace

Session::Session(const Context& context, const Model& model, const Plan& plan, KvBacking backing)
    : context_(context),
      model_(model),
      plan_(plan),
      pages_(make_pool(context, plan, Purpose::kKvPages, plan.kv.page_bytes(), NullPage::kReadable, backing)),
      states_(make_pool(context, plan, Purpose::kStateSsm, plan.state.page_bytes(), NullPage::kAbsent, backing)),
      meta_(context.ledger.require(Tier::kRam, Purpose::kKvMeta, plan.of(Purpose::kKvMeta))),
      scratch_(populated(context, plan, Purpose::kAct)),
      logits_(populated(context, plan, Purpose::kLogits)),
      sequences_(static_cast<std::size_t>(plan.sequences)) {
  meta_.commit(meta_.size());
  const auto most = static_cast<std::size_t>(pages_ ? ceil_div(plan.context, kPageTokens) : 0);
  for (Sequence& sequence : sequences_) {
    sequence.pages.reserve(most);
    sequence.page_data.reserve(most);
  }
}

Session::~Session() = default;

SequenceId Session::open() {
  const auto free = std::find_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return !s.open; });
  JERICHO_CHECK(free != sequences_.end(), "the plan has {} sequences", sequences_.size());
  free->open = true;
  if (states_) {
    const auto page = states_->allocate();  // zeros: nothing read yet
    JERICHO_CHECK(page.has_value(), "the plan has states of {} sequences", states_->capacity());
    free->state = *page;
  }
  return static_cast<SequenceId>(free - sequences_.begin());
}

void Session::close(SequenceId id) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(id));
  for (const PageId page : sequence.pages) pages_->release(page);
  if (states_) states_->release(std::exchange(sequence.state, kNullPage));
  sequence.pages.clear();
  sequence.page_data.clear();
  sequence.length = 0;
  sequence.open = false;
}

Index Session::length(SequenceId id) const { return sequences_.at(static_cast<std::size_t>(id)).length; }

void Session::check(std::span<const BatchItem> items) const {
  Index rows = 0;
  for (const BatchItem& item : items) {
    const Sequence& sequence = sequences_.at(static_cast<std::size_t>(item.sequence));
    JERICHO_CHECK(sequence.open && !item.tokens.empty(), "sequence {} with {} tokens", item.sequence,
                  item.tokens.size());
    const auto tokens = static_cast<Index>(item.tokens.size());
    rows += tokens;
    if (sequence.length + tokens > plan_.context) {
      throw Error(ErrorKind::kInput, fmt::format("{} tokens after {} do not fit the context of {}; give more with -c",
                                                 tokens, sequence.length, plan_.context));
    }
    for (const TokenId token : item.tokens) {
      if (token < 0 || token >= model_.config().vocab_size) {
        throw Error(ErrorKind::kInput, fmt::format("token id {} is not in the model's vocabulary of {}", token,
                                                   model_.config().vocab_size));
      }
    }
  }
  JERICHO_CHECK(rows >= 1 && rows <= plan_.limits.rows, "{} rows in a batch of at most {}", rows, plan_.limits.rows);
}

void Session::extend(Sequence& sequence, Index tokens) {
  if (!pages_) return;
  const Index wanted = ceil_div(sequence.length + tokens, kPageTokens);
  while (static_cast<Index>(sequence.pages.size()) < wanted) {
    const auto page = pages_->allocate();
    JERICHO_CHECK(page.has_value(), "the plan's {} pages hold {} sequences of {}", plan_.pages, plan_.sequences,
                  plan_.context);
    sequence.pages.push_back(*page);
    sequence.page_data.push_back(pages_->data(*page));
  }
}

MatrixView<const float> Session::forward(std::span<const BatchItem> items) {
  check(items);
  std::vector<TokenId> tokens;
  std::vector<BatchRow> rows;
  std::vector<Index> logit_rows;
  std::vector<std::span<std::byte* const>> pages;
  std::vector<std::byte*> states;
  for (const BatchItem& item : items) {
    Sequence& sequence = sequences_[static_cast<std::size_t>(item.sequence)];
    const auto count = static_cast<Index>(item.tokens.size());
    extend(sequence, count);
    for (Index i = 0; i < count; ++i) {
      const bool wanted = item.logits == LogitRows::kAll || (item.logits == LogitRows::kLast && i + 1 == count);
      if (wanted) logit_rows.push_back(static_cast<Index>(tokens.size()));
      tokens.push_back(item.tokens[static_cast<std::size_t>(i)]);
      rows.push_back({static_cast<std::int32_t>(pages.size()), sequence.length + i});
    }
    pages.emplace_back(sequence.page_data);
    if (states_) states.push_back(states_->data(sequence.state));
    sequence.length += count;
  }
  const auto R = static_cast<Index>(logit_rows.size());
  JERICHO_CHECK(R <= plan_.limits.logit_rows, "{} rows of logits, the plan has {}", R, plan_.limits.logit_rows);
  const MatrixView<float> logits(reinterpret_cast<float*>(logits_.bytes().data()), R, model_.config().vocab_size);
  model_.transformer().forward(context_, plan_.kv, {tokens, rows, logit_rows, pages, states, plan_.long_context},
                               scratch_.bytes(), logits);
  return logits;
}

std::span<const float> Session::prefill(SequenceId sequence, std::span<const TokenId> tokens,
                                        const std::stop_token& stop, const Progress& progress) {
  std::span<const float> last;
  for (std::size_t begin = 0; begin < tokens.size(); begin += static_cast<std::size_t>(chunk())) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while reading the prompt");
    const auto piece = tokens.subspan(begin, std::min(static_cast<std::size_t>(chunk()), tokens.size() - begin));
    const bool ends = begin + piece.size() == tokens.size();
    const BatchItem item = {sequence, piece, ends ? LogitRows::kLast : LogitRows::kNone};
    const MatrixView<const float> logits = forward({&item, 1});
    if (ends) last = logits.row(0);
    if (progress) progress(static_cast<Index>(begin + piece.size()), static_cast<Index>(tokens.size()));
  }
  return last;
}

}  // namespace jericho
