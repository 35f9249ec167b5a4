// From files to sequences: see data.h.
#include "train/data.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "train/shuffle.h"

namespace jericho {
namespace {

constexpr Index kDocumentsPerPart = 64;
constexpr Index kOpenSequences = 64;  // that a document may still join
constexpr Index kOrdered = -2;

Bytes size_of(const std::string& file) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) throw Error(ErrorKind::kInput, fmt::format("{}: no such file, or it cannot be read", file));
  return Bytes{static_cast<std::int64_t>(size)};
}

void check_token(const TokenShard& shard, Index index, std::int32_t id, Index vocabulary) {
  if (id >= 0 && id < vocabulary) return;
  throw Error(ErrorKind::kInput, fmt::format("{}: token {} is {}, the tokenizer has {}: it was made with another one",
                                             shard.path(), index, id, vocabulary));
}

bool is_shard(const std::string& file) { return file.ends_with(".bin"); }

// How many tokens two texts begin with together.
Index common_tokens(std::span<const TokenId> a, std::span<const TokenId> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

struct TokenStore::Encoded {
  std::vector<TokenId> ids{};
  std::vector<bool> untrained{};  // empty: all are trained
  Bytes trained_text{};
  bool cut = false;

  Encoded() = default;
  Encoded(const Document& document, const Tokenizer& tokenizer, Index most_tokens) {
    ids = encode(document.text, document, tokenizer);
    trained_text = Bytes{static_cast<std::int64_t>(document.text.size())};
    // A range's tokens are those after the ones that the text before it begins with too.
    if (!document.trained.empty()) {
      untrained.assign(ids.size(), true);
      trained_text = {};
      for (const TextRange& range : document.trained) {
        const auto tokens_until = [&](std::size_t byte) {
          if (byte == document.text.size()) return static_cast<Index>(ids.size());
          return common_tokens(encode(document.text.substr(0, byte), document, tokenizer), ids);
        };
        const Index begin = tokens_until(range.begin), end = tokens_until(range.end);
        std::fill(untrained.begin() + begin, untrained.begin() + std::max(begin, end), false);
        trained_text += Bytes{static_cast<std::int64_t>(range.end - range.begin)};
      }
    }
    // The end is there once, whether the files ask for it or not.
    if (document.ends && tokenizer.eos() && (ids.empty() || ids.back() != *tokenizer.eos())) {
      ids.push_back(*tokenizer.eos());
      if (!untrained.empty()) untrained.push_back(false);
    }
    if (!document.whole || static_cast<Index>(ids.size()) <= most_tokens) return;
    cut = true;
    ids.resize(static_cast<std::size_t>(most_tokens));
    if (!untrained.empty()) untrained.resize(ids.size());
  }

  // A document's first token follows nothing, so it is no target.
  [[nodiscard]] bool trains() const {
    if (untrained.empty()) return ids.size() > 1;
    return std::find(untrained.begin() + 1, untrained.end(), false) != untrained.end();
  }

 private:
  static std::vector<TokenId> encode(std::string_view text, const Document& document, const Tokenizer& tokenizer) {
    const bool plain = document.special == SpecialTokens::kAsText && document.trained.empty();
    std::vector<TokenId> ids = tokenizer.encode(text, {.add_bos = plain, .special = document.special});
    // Most templates write the begin of a text themselves.
    const bool begins = !ids.empty() && ids.front() == tokenizer.bos();
    if (!plain && tokenizer.adds_bos() && !begins) ids.insert(ids.begin(), *tokenizer.bos());
    return ids;
  }
};

void TokenStore::append(const Encoded& document, bool narrow) {
  const auto before = static_cast<std::size_t>(tokens());
  for (const TokenId id : document.ids) {
    if (narrow) {
      narrow_.push_back(static_cast<std::uint16_t>(id));
    } else {
      wide_.push_back(id);
    }
  }
  if (!document.untrained.empty() && untrained_.empty()) untrained_.assign(before, false);
  if (!document.untrained.empty()) {
    untrained_.insert(untrained_.end(), document.untrained.begin(), document.untrained.end());
  } else if (!untrained_.empty()) {
    untrained_.resize(before + document.ids.size(), false);
  }
  starts_.push_back(before + document.ids.size());
  trained_ += document.untrained.empty() ? static_cast<Index>(document.ids.size()) - 1
                                         : std::count(document.untrained.begin() + 1, document.untrained.end(), false);
  text_bytes_ += document.trained_text;
  if (document.cut) ++cut_;
}

void TokenStore::append(TokenShard shard, const Tokenizer& tokenizer, const std::stop_token& stop) {
  const Index begin = tokens(), before = documents();
  const std::vector<std::uint64_t> listed = shard.document_starts();
  for (std::size_t i = 1; i < listed.size(); ++i) starts_.push_back(static_cast<std::uint64_t>(begin) + listed[i]);
  shard.each([&](Index first, std::span<const std::int32_t> ids) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while texts were read");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      check_token(shard, first + static_cast<Index>(i), ids[i], vocabulary_);
      shards_hash_ = mix64(shards_hash_ + static_cast<std::uint64_t>(ids[i]) + 0x9E3779B97F4A7C15u);
      const Index next = first + static_cast<Index>(i) + 1;
      if (listed.empty() && ids[i] == tokenizer.eos() && next < shard.tokens())
        starts_.push_back(static_cast<std::uint64_t>(begin + next));
    }
  });
  starts_.push_back(static_cast<std::uint64_t>(begin + shard.tokens()));
  trained_ += shard.tokens() - (documents() - before);
  shards_.push_back({std::move(shard), begin});
}

void TokenStore::read(Index first, std::span<std::int32_t> out) const {
  const Index in_memory = tokens_in_memory();
  while (!out.empty() && first < in_memory) {
    const auto i = static_cast<std::size_t>(first++);
    out.front() = wide_.empty() ? narrow_[i] : wide_[i];
    out = out.subspan(1);
  }
  for (auto shard = shards_.begin(); shard != shards_.end() && !out.empty(); ++shard) {
    const Index at = first - shard->first, left = shard->shard.tokens() - at;
    if (left <= 0) continue;
    const auto count = std::min<std::size_t>(out.size(), static_cast<std::size_t>(left));
    shard->shard.read(at, out.first(count));
    // It may have been written anew since it was looked at.
    for (std::size_t i = 0; i < count; ++i) check_token(shard->shard, at + static_cast<Index>(i), out[i], vocabulary_);
    out = out.subspan(count);
    first += static_cast<Index>(count);
  }
}

Bytes TokenStore::reading_bytes(const std::vector<std::string>& files) {
  Bytes largest{}, total{};
  for (const std::string& file : files) {
    const Bytes size = size_of(file);
    if (is_shard(file)) {  // its tokens stay on the disk, the begins of documents do not
      total += Bytes{size.count / 64};
      continue;
    }
    // A file's text and tokens while it is read; of JSON also what it is parsed to and the texts that are rendered.
    const std::int64_t times = file.ends_with(".json") ? 16 : file.ends_with(".jsonl") ? 8 : 5;
    largest = std::max(largest, size * times);
    total += size;
  }
  return largest + total * 2;  // all tokens so far, with room to grow
}

TokenStore TokenStore::read(const Context& context, const std::vector<std::string>& files,
                            const DocumentOptions& options, Index most_tokens, const Tokenizer& tokenizer,
                            const std::stop_token& stop, const Progress& progress) {
  TokenStore store;
  store.starts_.push_back(0);
  store.vocabulary_ = tokenizer.size();
  const bool narrow = tokenizer.size() <= 65536;
  Bytes total{}, done{};
  for (const std::string& file : files) total += is_shard(file) ? 0_B : size_of(file);
  const Lease reading = context.ledger.require(Tier::kRam, Purpose::kDataset, reading_bytes(files));
  for (const std::string& file : files) {
    if (is_shard(file)) continue;
    const Documents documents = read_documents(file, options);
    std::vector<Encoded> encoded(documents.list.size());
    const auto encode = [&](Index begin, Index end, int) {
      for (Index i = begin; i < end && !stop.stop_requested(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        encoded[at] = Encoded(documents.list[at], tokenizer, most_tokens);
      }
    };
    parallel_for(context.pool, std::ssize(documents.list), kDocumentsPerPart, encode);
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while texts were read");
    for (std::size_t i = 0; i < encoded.size(); ++i) {
      if (documents.list[i].whole && !encoded[i].trains()) {
        ++store.left_out_;
      } else {
        store.append(encoded[i], narrow);
      }
    }
    done += size_of(file);
    if (progress) progress(done, total);
  }
  for (const std::string& file : files) {
    if (is_shard(file)) store.append(TokenShard(file), tokenizer, stop);
  }
  if (!store.shards_.empty()) store.text_bytes_ = {};
  if (store.trained_ <= 0) throw Error(ErrorKind::kInput, "the files given hold no text that is trained");
  store.narrow_.shrink_to_fit();
  store.wide_.shrink_to_fit();
  store.untrained_.shrink_to_fit();
  store.starts_.shrink_to_fit();
  store.lease_ = context.ledger.require(Tier::kRam, Purpose::kDataset, store.bytes());
  store.lease_.commit(store.bytes());
  return store;
}

Index TokenStore::document_of(Index token) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), static_cast<std::uint64_t>(token));
  return after - starts_.begin() - 1;
}

Bytes TokenStore::bytes() const {
  return {static_cast<std::int64_t>(narrow_.capacity() * sizeof(std::uint16_t) +
                                    wide_.capacity() * sizeof(std::int32_t) + untrained_.capacity() / 8 +
                                    starts_.capacity() * sizeof(std::uint64_t))};
}

std::uint64_t TokenStore::hash() const {
  std::uint64_t hash = shards_hash_;
  for (const std::uint64_t start : starts_) hash = mix64(hash + start + 0x9E3779B97F4A7C15u);
  for (const std::uint16_t id : narrow_) hash = mix64(hash + id + 0x9E3779B97F4A7C15u);
  for (const std::int32_t id : wide_) hash = mix64(hash + static_cast<std::uint64_t>(id) + 0x9E3779B97F4A7C15u);
  for (const bool untrained : untrained_) hash = mix64(hash + static_cast<std::uint64_t>(untrained));
  return hash;
}

void SampleRows::clear() {
  tokens.clear();
  targets.clear();
  segments.clear();
  trained = 0;
}

SequenceSampler::SequenceSampler(const TokenStore& store, DataMode mode, bool separate_documents, Index sequence_tokens,
                                 std::uint64_t seed)
    : store_(store), mode_(mode), separate_(separate_documents), sequence_(sequence_tokens), seed_(seed) {
  if (mode == DataMode::kStream && stream_samples() == 0) {
    throw Error(ErrorKind::kInput, fmt::format("the texts hold {} tokens, and a sequence of {} needs {}",
                                               store.tokens(), sequence_tokens, sequence_tokens + 1));
  }
}

Index SequenceSampler::stream_samples() const { return (store_.tokens() - 1) / sequence_; }

// First fit into the last sequences that have room, in the order of the epoch. What is longer than a sequence is cut;
// every token but a document's first is a target once.
void SequenceSampler::pack(Index epoch, Order order) {
  const Index wanted = order == Order::kAsRead ? kOrdered : epoch;
  if (packed_epoch_ == wanted) return;
  packed_epoch_ = wanted;
  const Index documents = store_.documents();
  const Shuffle shuffle(static_cast<std::uint64_t>(documents), seed_, static_cast<std::uint64_t>(epoch));
  std::vector<std::vector<Piece>> sequences;
  std::vector<Index> room;
  std::size_t oldest = 0;
  const auto place = [&](Piece piece) {
    while (oldest < sequences.size() && static_cast<Index>(sequences.size() - oldest) > kOpenSequences) ++oldest;
    for (std::size_t i = oldest; i < sequences.size(); ++i) {
      if (room[i] < piece.length) continue;
      sequences[i].push_back(piece);
      room[i] -= piece.length;
      return;
    }
    sequences.push_back({piece});
    room.push_back(sequence_ - piece.length);
  };
  for (Index i = 0; i < documents; ++i) {
    const Index document = order == Order::kAsRead ? i : static_cast<Index>(shuffle(static_cast<std::uint64_t>(i)));
    Index first = store_.start(document), left = store_.length(document);
    // The last token predicts nothing, so it is no row.
    while (left > 1) {
      const Index length = std::min(left - 1, sequence_);
      place({first, length});
      first += length;
      left -= length;
    }
  }
  pieces_.clear();
  ends_.clear();
  for (const auto& sequence : sequences) {
    pieces_.insert(pieces_.end(), sequence.begin(), sequence.end());
    ends_.push_back(static_cast<Index>(pieces_.size()));
  }
}

void SequenceSampler::append_pieces(std::span<const Piece> pieces, SampleRows& out) const {
  const auto begin = static_cast<Index>(out.tokens.size());
  std::vector<std::int32_t> ids;
  for (const Piece& piece : pieces) {
    out.segments.push_back({static_cast<Index>(out.tokens.size()), piece.length});
    ids.resize(static_cast<std::size_t>(piece.length) + 1);
    store_.read(piece.first, ids);
    for (Index i = 0; i < piece.length; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool trained = store_.trained(piece.first + i + 1);
      out.tokens.push_back(ids[at]);
      out.targets.push_back(trained ? ids[at + 1] : kIgnored);
      if (trained) ++out.trained;
    }
  }
  // Rows that no piece fills are of no segment: token 0, no target.
  out.tokens.resize(static_cast<std::size_t>(begin + sequence_), 0);
  out.targets.resize(static_cast<std::size_t>(begin + sequence_), kIgnored);
}

void SequenceSampler::append_stream(Index sample, SampleRows& out) const {
  const Index first = sample * sequence_;
  const auto row = static_cast<Index>(out.tokens.size());
  Index document = store_.document_of(first), begin = first;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(sequence_) + 1);
  store_.read(first, ids);
  for (Index i = first; i < first + sequence_; ++i) {
    const auto at = static_cast<std::size_t>(i - first);
    const bool last = i + 1 == store_.start(document + 1);
    out.tokens.push_back(ids[at]);
    // What follows a document is another's begin, which nothing foretells.
    const bool ignored = (separate_ && last) || !store_.trained(i + 1);
    out.targets.push_back(ignored ? kIgnored : ids[at + 1]);
    if (!ignored) ++out.trained;
    if (!last) continue;
    ++document;
    if (!separate_) continue;
    out.segments.push_back({row + begin - first, i + 1 - begin});
    begin = i + 1;
  }
  if (begin < first + sequence_) out.segments.push_back({row + begin - first, first + sequence_ - begin});
}

Index SequenceSampler::epoch_sequences(Index epoch) {
  if (mode_ == DataMode::kStream) return stream_samples();
  pack(epoch, Order::kShuffled);
  return static_cast<Index>(ends_.size());
}

void SequenceSampler::append(Index epoch, Index index, SampleRows& out) {
  if (mode_ == DataMode::kStream) {
    const Shuffle shuffle(static_cast<std::uint64_t>(stream_samples()), seed_, static_cast<std::uint64_t>(epoch));
    return append_stream(static_cast<Index>(shuffle(static_cast<std::uint64_t>(index))), out);
  }
  pack(epoch, Order::kShuffled);
  // The last packed sequences are the least full; their order is the epoch's too.
  const Shuffle shuffle(ends_.size(), seed_ ^ 0x5eedu, static_cast<std::uint64_t>(epoch));
  const auto at = static_cast<std::size_t>(shuffle(static_cast<std::uint64_t>(index)));
  const Index begin = at == 0 ? 0 : ends_[at - 1];
  append_pieces(
      std::span(pieces_).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(ends_[at] - begin)), out);
}

Index SequenceSampler::ordered_sequences() {
  if (mode_ == DataMode::kStream) return stream_samples();
  pack(0, Order::kAsRead);
  return static_cast<Index>(ends_.size());
}

void SequenceSampler::append_in_order(Index index, SampleRows& out) {
  if (mode_ == DataMode::kStream) return append_stream(index, out);
  pack(0, Order::kAsRead);
  const auto at = static_cast<std::size_t>(index);
  const Index begin = at == 0 ? 0 : ends_[at - 1];
  append_pieces(
      std::span(pieces_).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(ends_[at] - begin)), out);
}

}  // namespace jericho
