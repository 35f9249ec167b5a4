// Batches over pages: see session.h.
#include "engine/session.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr Index kNoEnd = std::numeric_limits<Index>::max();

Arena populated(const Context& context, const Plan& plan, Purpose purpose) {
  return Arena(context.ledger.require(Tier::kRam, purpose, plan.of(purpose)), {.populate = true});
}

std::optional<PagePool> make_pool(const Context& context, const Plan& plan, Purpose purpose, Bytes page_bytes,
                                  NullPage null, KvBacking backing) {
  const Bytes beside = purpose == Purpose::kKvPages ? plan.cold.ring_bytes() + plan.full_key_bytes() : 0_B;
  const Bytes size = plan.of(purpose) - beside;
  if (size == Bytes{}) return std::nullopt;
  Arena arena(context.ledger.require(Tier::kRam, purpose, size), {.populate = backing == KvBacking::kPopulate});
  return PagePool(std::move(arena), page_bytes, null);
}

std::optional<PagePool> make_full_pool(const Context& context, const Plan& plan, KvBacking backing) {
  if (!plan.kv.has_full_keys()) return std::nullopt;
  Lease lease = context.ledger.require(Tier::kRam, Purpose::kKvPages, plan.full_key_bytes());
  return PagePool(Arena(std::move(lease), {.populate = backing == KvBacking::kPopulate}), plan.kv.full_page_bytes(),
                  NullPage::kAbsent);
}

std::unique_ptr<ColdKv> make_cold(const Context& context, const ModelConfig& config, const Plan& plan,
                                  const ScratchOptions& options, std::unique_ptr<IoBackend> io) {
  if (plan.cold.group_pages == 0) return nullptr;
  Lease disk = context.ledger.require(Tier::kDisk, Purpose::kKvPages, plan.cold.scratch.total());
  Arena ring(context.ledger.require(Tier::kRam, Purpose::kKvPages, plan.cold.ring_bytes()), {.populate = true});
  if (io == nullptr) io = make_io_backend();
  return std::make_unique<ColdKv>(
      config, plan, context.pool, std::move(ring),
      std::make_unique<ScratchFile>(options, plan.cold.scratch, std::move(disk), std::move(io)));
}

// Neighbours with the same adapters are one run.
void add_run(std::vector<AdapterRun>& runs, const AdapterRun& run) {
  if (run.adapters.empty()) return;
  if (!runs.empty()) {
    AdapterRun& last = runs.back();
    const bool follows = last.first + last.rows == run.first;
    if (follows && std::equal(last.adapters.begin(), last.adapters.end(), run.adapters.begin(), run.adapters.end())) {
      last.rows += run.rows;
      return;
    }
  }
  runs.push_back(run);
}

}  // namespace

Session::Session(const Context& context, const Model& model, const Plan& plan, KvBacking backing,
                 const ScratchOptions& scratch, std::unique_ptr<IoBackend> io)
    : context_(context),
      model_(model),
      plan_(plan),
      pages_(make_pool(context, plan, Purpose::kKvPages, plan.kv.page_bytes(), NullPage::kReadable, backing)),
      full_(make_full_pool(context, plan, backing)),
      states_(make_pool(context, plan, Purpose::kStateSsm, plan.state.page_bytes(), NullPage::kAbsent, backing)),
      meta_(context.ledger.require(Tier::kRam, Purpose::kKvMeta, plan.of(Purpose::kKvMeta) - plan.selection_bytes())),
      scratch_(populated(context, plan, Purpose::kAct)),
      logits_(populated(context, plan, Purpose::kLogits)),
      sequences_(static_cast<std::size_t>(plan.sequences)),
      cold_(make_cold(context, model.config(), plan, scratch, std::move(io))),
      keeps_tokens_(plan.preempts()) {
  meta_.commit(meta_.size());
  if (plan.selection) {
    JERICHO_CHECK(context.pool.threads() <= plan.selection->threads, "{} threads, the plan is for {}",
                  context.pool.threads(), plan.selection->threads);
    selection_memory_ =
        Arena(context.ledger.require(Tier::kRam, Purpose::kKvMeta, plan.selection_bytes()), {.populate = true});
    if (plan.selection->select.votes()) {
      votes_.emplace(*plan.selection, selection_memory_.bytes());
    } else {
      selection_.emplace(*plan.selection, selection_memory_.bytes());
    }
  }
  const auto most = static_cast<std::size_t>(pages_ ? ceil_div(plan.context, kPageTokens) : 0);
  for (Sequence& sequence : sequences_) {
    sequence.pages.reserve(most);
    sequence.page_data.reserve(most);
    if (full_) sequence.full.reserve(most), sequence.full_data.reserve(most);
    if (keeps_tokens_) sequence.tokens.reserve(static_cast<std::size_t>(plan.context));
    if (keeps_tokens_ && plan.selection) sequence.reads.reserve(static_cast<std::size_t>(plan.context));
  }
}

Session::~Session() = default;

SequenceId Session::open(AdapterList adapters) {
  const auto free = std::find_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return !s.open; });
  JERICHO_CHECK(free != sequences_.end(), "the plan has {} sequences", sequences_.size());
  free->open = true;
  free->opened = ++opened_;
  free->adapters = adapters;
  for (const AdapterWeights* adapter : adapters) {
    JERICHO_CHECK(adapter->largest_rank <= plan_.limits.adapter_rank, "an adapter of rank {}, the plan has {}",
                  adapter->largest_rank, plan_.limits.adapter_rank);
  }
  if (states_) {
    const auto page = states_->allocate();  // zeros: nothing read yet
    JERICHO_CHECK(page.has_value(), "the plan has states of {} sequences", states_->capacity());
    free->state = *page;
  }
  return static_cast<SequenceId>(free - sequences_.begin());
}

void Session::close(SequenceId id) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(id));
  forget_pages(sequence);
  if (states_) states_->release(std::exchange(sequence.state, kNullPage));
  sequence.tokens.clear();
  sequence.reads.clear();
  sequence.length = sequence.dropped = 0;
  sequence.last_read = KvReading::kAll;
  sequence.place = Place::kInRam;
  sequence.open = sequence.failed = false;
}

bool Session::failed(SequenceId id) const { return sequences_.at(static_cast<std::size_t>(id)).failed; }

Index Session::length(SequenceId id) const { return sequences_.at(static_cast<std::size_t>(id)).length; }

void Session::check(std::span<const BatchItem> items) const {
  Index rows = 0;
  for (const BatchItem& item : items) {
    const Sequence& sequence = sequences_.at(static_cast<std::size_t>(item.sequence));
    JERICHO_CHECK(sequence.open && !item.tokens.empty(), "sequence {} with {} tokens", item.sequence,
                  item.tokens.size());
    JERICHO_CHECK(!sequence.failed, "sequence {} has failed", item.sequence);
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

PageId Session::take_page() {
  while (true) {
    if (const auto page = pages_->allocate()) return *page;
    make_room();
  }
}

void Session::extend(Sequence& sequence, Index tokens) {
  if (!pages_) return;
  const Index wanted = ceil_div(stored(sequence) + tokens, kPageTokens);
  while (static_cast<Index>(sequence.pages.size()) < wanted) {
    const PageId page = take_page();
    sequence.pages.push_back(page);
    sequence.page_data.push_back(pages_->data(page));
  }
  while (full_ && std::ssize(sequence.full) < wanted) {
    const auto page = full_->allocate();
    JERICHO_CHECK(page.has_value(), "the plan has {} pages of keys that are seen in full", full_->capacity());
    sequence.full.push_back(*page);
    sequence.full_data.push_back(full_->data(*page));
  }
}

// Of keys in two forms: the pages that the next token and all behind it see in codes.
void Session::drop_coded(Sequence& sequence) {
  if (!full_) return;
  for (Index page = coded_end(sequence.length) / kPageTokens - 1; page >= 0; --page) {
    PageId& id = sequence.full[static_cast<std::size_t>(page)];
    if (id == kNullPage) break;
    full_->release(std::exchange(id, kNullPage));
    sequence.full_data[static_cast<std::size_t>(page)] = nullptr;
  }
}

// After a step that failed: pages of keys in full that no token has written, for the pool has those of one step.
void Session::drop_unread(Sequence& sequence) {
  while (std::ssize(sequence.full) > ceil_div(sequence.length, kPageTokens)) {
    if (sequence.full.back() != kNullPage) full_->release(sequence.full.back());
    sequence.full.pop_back();
    sequence.full_data.pop_back();
  }
}

// It can only be closed: what nobody will read makes room for others at once.
void Session::fail(Sequence& sequence) {
  sequence.failed = true;
  forget_pages(sequence);
}

void Session::forget_pages(Sequence& sequence) {
  for (const PageId page : sequence.pages) {
    if (page != kNullPage) pages_->release(page);
  }
  for (const PageId page : sequence.full) {
    if (page != kNullPage) full_->release(page);
  }
  if (cold_) cold_->forget(number(sequence));
  sequence.pages.clear();
  sequence.page_data.clear();
  sequence.full.clear();
  sequence.full_data.clear();
}

Session::Sequence* Session::youngest_idle() {
  if (!keeps_tokens_) return nullptr;
  Sequence* youngest = nullptr;
  for (Sequence& s : sequences_) {
    const bool holds = s.open && s.place == Place::kInRam && std::ssize(s.pages) > cold_pages(s);
    if (holds && !s.in_batch && (youngest == nullptr || s.opened > youngest->opened)) youngest = &s;
  }
  return youngest;
}

// The one whose group is on its way to the file, else the one with most pages in RAM.
Session::Sequence* Session::next_to_cool() {
  const auto in_ram = [&](const Sequence& s) { return std::ssize(s.pages) - cold_pages(s); };
  if (const auto begun = cold_ ? cold_->behind() : std::nullopt) {
    Sequence& s = sequences_[static_cast<std::size_t>(*begun)];
    if (s.open && s.place == Place::kInRam && has_whole_group(s)) return &s;
  }
  Sequence* largest = nullptr;
  for (Sequence& s : sequences_) {
    if (!s.open || s.place != Place::kInRam || in_ram(s) == 0) continue;
    if (largest == nullptr || in_ram(s) > in_ram(*largest)) largest = &s;
  }
  return largest;
}

// Sequences that are not in the batch make room first, the youngest before the others: it has least to lose. Then the
// oldest pages of one go to the scratch file.
void Session::make_room() {
  if (Sequence* const youngest = youngest_idle()) return preempt(*youngest);
  Sequence* const largest = next_to_cool();
  if (cold_ == nullptr || largest == nullptr || !has_whole_group(*largest)) {
    throw Error(ErrorKind::kBudget, fmt::format("the sequences of one batch need more than the {} pages of keys and "
                                                "values that the memory allows; batch fewer or give more with --memory",
                                                plan_.pages));
  }
  if (!store_group(*largest)) throw Error(ErrorKind::kIo, "the scratch file has no room for more keys and values");
}

bool Session::has_whole_group(const Sequence& sequence) const {
  return !sequence.failed && sequence.length / kPageTokens - cold_pages(sequence) >= cold_->group_pages();
}

std::span<std::byte* const> Session::next_group(const Sequence& sequence) const {
  const std::span<std::byte* const> pages(sequence.page_data);
  return pages.subspan(static_cast<std::size_t>(cold_pages(sequence)), static_cast<std::size_t>(cold_->group_pages()));
}

// Where the last pages are about to be taken: of the sequence that will have to give some up.
void Session::write_behind() {
  if (cold_ == nullptr || pages_->free_pages() > cold_->group_pages() || youngest_idle() != nullptr) return;
  const Sequence* const next = next_to_cool();
  if (next != nullptr && has_whole_group(*next)) cold_->write_behind(number(*next), next_group(*next));
}

bool Session::store_group(Sequence& sequence) {
  const Index first = cold_pages(sequence);
  const auto group = static_cast<std::size_t>(cold_->group_pages());
  if (!cold_->store(number(sequence), next_group(sequence))) return false;
  for (std::size_t page = static_cast<std::size_t>(first); page < static_cast<std::size_t>(first) + group; ++page) {
    pages_->release(std::exchange(sequence.pages[page], kNullPage));
    sequence.page_data[page] = nullptr;
  }
  return true;
}

Bytes Session::give_back(Bytes wanted, Index least_context) {
  const bool streams =
      selection_ && selection_->select().method == KvMethod::kStreaming;  // whose pool is no larger than it must
  if (!pages_ || plan_.sequences > 1 || streams) return {};
  const Bytes before = pages_->arena().size();
  const Index next_step = ceil_div(plan_.limits.rows, kPageTokens) + 1;
  const Index least = cold_ ? cold_->group_pages() + next_step : ceil_div(least_context, kPageTokens);
  const Index pages = std::min(ceil_div(wanted.count, plan_.kv.page_bytes().count), pages_->capacity() - least);
  if (pages <= 0) return {};
  try {
    Sequence& only = sequences_.front();
    while (cold_ && pages_->free_pages() < pages && has_whole_group(only) && store_group(only)) {
    }
  } catch (const Error&) {  // a disk that takes no more: what is free goes
  }
  pages_->retire(pages);
  if (!cold_) plan_.context = std::min(plan_.context, std::max(least_context, pages_->capacity() * kPageTokens));
  return before - pages_->arena().size();
}

// Of a selection that streams: the pages between the sinks and the window of the next token, which no token reads
// again.
void Session::drop_middle(Sequence& sequence) {
  if (!selection_ || selection_->select().method != KvMethod::kStreaming) return;
  const KvSelect& select = selection_->select();
  const Index first = ceil_div(select.sinks, kPageTokens), end = (sequence.length + 1 - select.tokens) / kPageTokens;
  for (Index page = end - 1; page >= first && sequence.pages[static_cast<std::size_t>(page)] != kNullPage; --page) {
    pages_->release(std::exchange(sequence.pages[static_cast<std::size_t>(page)], kNullPage));
    sequence.page_data[static_cast<std::size_t>(page)] = nullptr;
  }
}

bool Session::votes_before(const Sequence& sequence, KvReading reads) const {
  return votes_ && reads == KvReading::kSelected &&
         stored(sequence) > votes_->select().most_stored(sequence.last_read == KvReading::kAll);
}

// Tokens that may be read in one step: none but the first finds positions dropped that the one before it still had.
Index Session::tokens_until_vote(const Sequence& sequence, KvReading reads) const {
  const Index most = votes_ && reads == KvReading::kSelected ? votes_->select().most_stored(false) : kNoEnd;
  if (most == kNoEnd) return most;
  return most + 1 - (votes_before(sequence, reads) ? votes_->select().tokens : stored(sequence));
}

// Before a token that is read so: of a selection that votes, drops what is too much, and the pages that it lay on.
void Session::vote(Sequence& sequence, KvReading reads) {
  if (!votes_before(sequence, reads)) return;
  const Index kept = votes_->select().tokens;
  votes_->drop(context_, static_cast<std::int32_t>(number(sequence)), sequence.length, stored(sequence),
               sequence.page_data);
  sequence.dropped = sequence.length - kept;
  while (std::ssize(sequence.pages) > ceil_div(kept, kPageTokens)) {
    pages_->release(sequence.pages.back());
    sequence.pages.pop_back();
    sequence.page_data.pop_back();
  }
}

void Session::preempt(Sequence& sequence) {
  const Bytes bytes = (std::ssize(sequence.pages) - cold_pages(sequence)) * plan_.kv.page_bytes();
  PreemptionCost cost{.tokens = sequence.length, .bytes = bytes, .seconds_per_token = seconds_per_token_};
  if (cold_ != nullptr && cold_->bytes_per_second() > 0) cost.bytes_per_second = cold_->bytes_per_second();
  const bool recompute =
      how_ == Preemption::kRecompute || (how_ == Preemption::kCheapest && recompute_is_cheaper(cost));
  if (cold_ == nullptr || recompute || !park(sequence)) drop(sequence);
}

// Whole groups become cold, the rest waits in a slot of its own. False when the scratch file does not take it.
bool Session::park(Sequence& sequence) {
  try {
    while (has_whole_group(sequence)) {
      if (!store_group(sequence)) return false;
    }
    const auto first = static_cast<std::size_t>(cold_pages(sequence));
    if (!cold_->park(number(sequence), std::span<std::byte* const>(sequence.page_data).subspan(first))) return false;
    for (std::size_t page = first; page < sequence.pages.size(); ++page)
      pages_->release(std::exchange(sequence.pages[page], kNullPage));
    sequence.place = Place::kParked;
    ++preemptions_.swapped;
    return true;
  } catch (const Error&) {  // a full or broken disk: the tokens are still here
    return false;
  }
}

void Session::drop(Sequence& sequence) {
  forget_pages(sequence);
  sequence.place = Place::kDropped;
  ++preemptions_.recomputed;
}

void Session::bring_back(Sequence& sequence) {
  if (sequence.place == Place::kParked && !unpark(sequence)) drop(sequence);
  if (sequence.place == Place::kDropped) read_again(sequence);
}

bool Session::unpark(Sequence& sequence) {
  const auto first = static_cast<std::size_t>(cold_pages(sequence));
  for (std::size_t page = first; page < sequence.pages.size(); ++page) {
    sequence.pages[page] = take_page();
    sequence.page_data[page] = pages_->data(sequence.pages[page]);
  }
  sequence.place = Place::kInRam;
  try {
    cold_->unpark(number(sequence), std::span<std::byte* const>(sequence.page_data).subspan(first));
    return true;
  } catch (const Error&) {  // what the disk has lost is computed again
    return false;
  }
}

void Session::read_again(Sequence& sequence) {
  const std::vector<TokenId> tokens(sequence.tokens);
  const std::vector<KvReading> reads(sequence.reads);
  sequence.tokens.clear();
  sequence.reads.clear();
  sequence.length = sequence.dropped = 0;
  sequence.last_read = KvReading::kAll;
  sequence.place = Place::kInRam;
  if (states_) {
    states_->release(sequence.state);
    sequence.state = *states_->allocate();
  }
  const auto most = static_cast<std::size_t>(chunk());
  const auto as_read = [&](std::size_t token) { return reads.empty() ? KvReading::kAll : reads[token]; };
  for (std::size_t begin = 0, end = 0; begin < tokens.size(); begin = end) {
    const Index until = tokens_until_vote(sequence, as_read(begin));
    const auto limit =
        std::min({begin + most, tokens.size(), begin + static_cast<std::size_t>(std::min(until, chunk()))});
    while (end < limit && as_read(end) == as_read(begin)) ++end;
    const auto piece = std::span(tokens).subspan(begin, end - begin);
    vote(sequence, as_read(begin));
    extend(sequence, std::ssize(piece));
    const BatchItem item = {static_cast<SequenceId>(number(sequence)), piece, LogitRows::kNone, as_read(begin)};
    step({&item, 1}, 0);
  }
}

Index Session::restore(SequenceId id, std::span<const TokenId> tokens, const FillPage& fill) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(id));
  JERICHO_CHECK(sequence.open && sequence.length == 0, "sequence {} has {} tokens", id, sequence.length);
  if (states_ || full_ || !pages_) return 0;
  sequence.in_batch = true;
  while (sequence.length + kPageTokens <= std::min(std::ssize(tokens), plan_.context)) {
    extend(sequence, kPageTokens);
    const auto page = static_cast<std::size_t>(sequence.length / kPageTokens);
    if (!fill(static_cast<Index>(page), {sequence.page_data[page], plan_.kv.page_bytes().size()})) break;
    const auto read = tokens.subspan(page * kPageTokens, kPageTokens);
    if (keeps_tokens_) sequence.tokens.insert(sequence.tokens.end(), read.begin(), read.end());
    if (keeps_tokens_ && plan_.selection) sequence.reads.resize(sequence.tokens.size(), KvReading::kAll);
    sequence.length += kPageTokens;
    if (selection_ && sequence.length % kAttentionBlock == 0)
      selection_->note_block(context_, id, sequence.length / kAttentionBlock - 1, sequence.page_data);
  }
  sequence.in_batch = false;
  return sequence.length;
}

std::span<const std::byte> Session::page(SequenceId id, Index index) const {
  const Sequence& sequence = sequences_.at(static_cast<std::size_t>(id));
  const auto page = static_cast<std::size_t>(index);
  if (full_ || (index + 1) * kPageTokens > stored(sequence) || page >= sequence.pages.size() ||
      sequence.pages[page] == kNullPage)
    return {};
  return {sequence.page_data[page], plan_.kv.page_bytes().size()};
}

MatrixView<const float> Session::forward(std::span<const BatchItem> items) {
  check(items);
  const auto until_vote = [&](const BatchItem& item) {
    return tokens_until_vote(sequences_[static_cast<std::size_t>(item.sequence)], item.reads);
  };
  const auto in_one_step = [&](const BatchItem& item) { return std::ssize(item.tokens) <= until_vote(item); };
  if (std::all_of(items.begin(), items.end(), in_one_step)) return advance(items, 0);
  Index rows = 0;
  for (BatchItem item : items) {
    for (auto left = item.tokens; !left.empty(); left = left.subspan(item.tokens.size())) {
      item.tokens = left.first(static_cast<std::size_t>(std::min(std::ssize(left), until_vote(item))));
      BatchItem piece = item;
      if (piece.logits == LogitRows::kLast && piece.tokens.size() < left.size()) piece.logits = LogitRows::kNone;
      rows += advance({&piece, 1}, rows).extent(0);
    }
  }
  return {reinterpret_cast<const float*>(logits_.bytes().data()), rows, model_.config().vocab_size};
}

// What forward() does where no item has a vote between its tokens; the logits become rows from `first_logits` on.
MatrixView<const float> Session::advance(std::span<const BatchItem> items, Index first_logits) {
  const auto each = [&](auto&& body) {
    for (const BatchItem& item : items) body(sequences_[static_cast<std::size_t>(item.sequence)], item);
  };
  each([](Sequence& sequence, const BatchItem&) { sequence.in_batch = true; });
  try {
    each([&](Sequence& sequence, const BatchItem&) { bring_back(sequence); });
    each([&](Sequence& sequence, const BatchItem& item) { vote(sequence, item.reads); });
    each([&](Sequence& sequence, const BatchItem& item) { extend(sequence, std::ssize(item.tokens)); });
  } catch (const Error&) {
    each([&](Sequence& sequence, const BatchItem&) {
      sequence.in_batch = false;
      fail(sequence);
    });
    throw;
  }
  try {
    const MatrixView<const float> logits = step(items, first_logits);
    each([](Sequence& sequence, const BatchItem&) { sequence.in_batch = false; });
    return logits;
  } catch (const Error&) {
    take_back(items);
    throw;
  }
}

// Some layers have read these tokens, others have not. Keys and values are written again at the same positions; a state
// has no way back, nor have votes, and cold pages may be on their way.
void Session::take_back(std::span<const BatchItem> items) {
  for (const BatchItem& item : items) {
    Sequence& sequence = sequences_[static_cast<std::size_t>(item.sequence)];
    sequence.in_batch = false;
    if (states_ || votes_ || cold_) {
      fail(sequence);
      continue;
    }
    sequence.length -= std::ssize(item.tokens);
    drop_unread(sequence);
    if (keeps_tokens_) sequence.tokens.resize(static_cast<std::size_t>(sequence.length));
    if (keeps_tokens_ && plan_.selection) sequence.reads.resize(sequence.tokens.size());
  }
}

// The items' pages are there.
MatrixView<const float> Session::step(std::span<const BatchItem> items, Index first_logits) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<TokenId> tokens;
  std::vector<BatchRow> rows;
  std::vector<Index> logit_rows;
  std::vector<std::span<std::byte* const>> pages;
  std::vector<std::span<std::byte* const>> full;
  std::vector<std::byte*> states;
  std::vector<ColdKv::Reader> readers;
  std::vector<std::int32_t> numbers;
  std::vector<AdapterRun> adapters;
  for (const BatchItem& item : items) {
    Sequence& sequence = sequences_[static_cast<std::size_t>(item.sequence)];
    const auto count = static_cast<Index>(item.tokens.size());
    readers.push_back({item.sequence, sequence.length, count});
    add_run(adapters, {static_cast<Index>(tokens.size()), count, sequence.adapters});
    for (Index i = 0; i < count; ++i) {
      const bool wanted = item.logits == LogitRows::kAll || (item.logits == LogitRows::kLast && i + 1 == count);
      if (wanted) logit_rows.push_back(static_cast<Index>(tokens.size()));
      tokens.push_back(item.tokens[static_cast<std::size_t>(i)]);
      rows.push_back({static_cast<std::int32_t>(pages.size()), stored(sequence) + i, item.reads == KvReading::kSelected,
                      sequence.dropped});
    }
    numbers.push_back(item.sequence);
    pages.emplace_back(sequence.page_data);
    full.emplace_back(sequence.full_data);
    if (states_) states.push_back(states_->data(sequence.state));
    sequence.length += count;
    sequence.last_read = item.reads;
    if (keeps_tokens_) sequence.tokens.insert(sequence.tokens.end(), item.tokens.begin(), item.tokens.end());
    if (keeps_tokens_ && plan_.selection) sequence.reads.resize(sequence.tokens.size(), item.reads);
  }
  if (selection_) selection_->begin_step(numbers);
  if (votes_) votes_->begin_step(numbers);
  const auto R = static_cast<Index>(logit_rows.size());
  JERICHO_CHECK(first_logits + R <= plan_.limits.logit_rows, "{} rows of logits, the plan has {}", first_logits + R,
                plan_.limits.logit_rows);
  const MatrixView<float> all_logits(reinterpret_cast<float*>(logits_.bytes().data()), plan_.limits.logit_rows,
                                     model_.config().vocab_size);
  const MatrixView<float> logits = all_logits.rows(first_logits, R);
  ColdPages* cold = cold_ ? cold_->begin_step(readers) : nullptr;
  KvPages all_pages(pages);
  all_pages.full_keys = full;
  model_.transformer().forward(context_, plan_.kv,
                               {tokens, rows, logit_rows, all_pages, states, selection_ ? &*selection_ : nullptr,
                                votes_ ? &*votes_ : nullptr, cold, plan_.long_context, adapters},
                               scratch_.bytes(), logits);
  write_behind();
  if (cold != nullptr) cold_->end_step();
  for (const BatchItem& item : items) {
    drop_middle(sequences_[static_cast<std::size_t>(item.sequence)]);
    drop_coded(sequences_[static_cast<std::size_t>(item.sequence)]);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double each = seconds / static_cast<double>(tokens.size());
  if (seconds_per_token_ == 0 || each < seconds_per_token_) seconds_per_token_ = each;
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
