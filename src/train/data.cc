// From files to sequences: see data.h.
#include "train/data.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "train/shuffle.h"

namespace jericho {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  if (!in || failure) throw Error(ErrorKind::kInput, fmt::format("{}: no such file, or it cannot be read", path));
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  if (static_cast<std::size_t>(in.gcount()) != size)
    throw Error(ErrorKind::kIo, fmt::format("{}: cannot be read whole", path));
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string_view> documents_of(std::string_view text, const std::string& separator) {
  std::vector<std::string_view> documents;
  while (true) {
    const std::size_t end = separator.empty() ? std::string_view::npos : text.find(separator);
    const std::string_view document = trimmed(text.substr(0, end));
    if (!document.empty()) documents.push_back(document);
    if (end == std::string_view::npos) return documents;
    text.remove_prefix(end + separator.size());
  }
}

// The documents of a file's text. Of JSON Lines each line that is not blank is an object with the document as "text",
// which takes its place in `text`: it is no longer than its line.
std::vector<std::string_view> documents_of_json_lines(const std::string& file, std::string& text) {
  std::vector<std::pair<std::size_t, std::size_t>> places;  // begin and length
  std::size_t write = 0;
  Index number = 0;
  for (std::size_t read = 0; read < text.size();) {
    ++number;
    const std::size_t end = std::min(text.find('\n', read), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(read, end - read));
    read = end + 1;
    if (line.empty()) continue;
    const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
    if (!record.is_object() || !record.contains("text") || !record.at("text").is_string()) {
      throw Error(ErrorKind::kInput,
                  fmt::format("{}: line {}: expected an object with \"text\": \"...\", found {}", file, number,
                              record.is_discarded() ? "no JSON"
                              : record.is_object()  ? "no text in it"
                                                    : "something else"));
    }
    const auto& whole = record.at("text").get_ref<const std::string&>();
    const std::string_view document = trimmed(whole);
    if (document.empty()) continue;
    std::copy(document.begin(), document.end(), text.begin() + static_cast<std::ptrdiff_t>(write));
    places.emplace_back(write, document.size());
    write += document.size();
  }
  std::vector<std::string_view> documents;
  for (const auto& [begin, length] : places) documents.push_back(std::string_view(text).substr(begin, length));
  return documents;
}

constexpr Index kDocumentsPerPart = 64;
constexpr Index kOpenSequences = 64;  // that a document may still join
constexpr Index kOrdered = -2;

}  // namespace

TokenStore TokenStore::read(const Context& context, const std::vector<std::string>& files, const std::string& separator,
                            const Tokenizer& tokenizer, const std::stop_token& stop, const Progress& progress) {
  TokenStore store;
  store.starts_.push_back(0);
  const bool narrow = tokenizer.size() <= 65536;
  Bytes total{}, done{}, largest{};
  for (const std::string& file : files) {
    std::error_code failure;
    const auto size = std::filesystem::file_size(file, failure);
    if (failure) throw Error(ErrorKind::kInput, fmt::format("{}: no such file, or it cannot be read", file));
    total += Bytes{static_cast<std::int64_t>(size)};
    largest = std::max(largest, Bytes{static_cast<std::int64_t>(size)});
  }
  // While it is read: a file's text and tokens, and all tokens so far with room to grow.
  const Lease reading =
      context.ledger.require(Tier::kRam, Purpose::kDataset, Bytes{largest.count * 5 + total.count * 2});
  for (const std::string& file : files) {
    std::string text = read_file(file);
    const std::vector<std::string_view> documents =
        file.ends_with(".jsonl") ? documents_of_json_lines(file, text) : documents_of(text, separator);
    if (documents.empty()) throw Error(ErrorKind::kInput, fmt::format("{}: holds no text", file));
    std::vector<std::vector<TokenId>> ids(documents.size());
    const auto encode = [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) {
        if (stop.stop_requested()) return;
        const auto at = static_cast<std::size_t>(i);
        ids[at] = tokenizer.encode(documents[at], {.add_bos = true, .special = SpecialTokens::kAsText});
        // The end is there once, whether the files ask for it or not.
        if (tokenizer.eos() && (ids[at].empty() || ids[at].back() != *tokenizer.eos()))
          ids[at].push_back(*tokenizer.eos());
      }
    };
    parallel_for(context.pool, static_cast<Index>(documents.size()), kDocumentsPerPart, encode);
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while texts were read");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (const TokenId id : ids[i]) {
        if (narrow) {
          store.narrow_.push_back(static_cast<std::uint16_t>(id));
        } else {
          store.wide_.push_back(id);
        }
      }
      store.starts_.push_back(store.starts_.back() + ids[i].size());
      store.text_bytes_ += Bytes{static_cast<std::int64_t>(documents[i].size())};
    }
    done += Bytes{static_cast<std::int64_t>(text.size())};
    if (progress) progress(done, total);
  }
  if (store.documents() <= 0) throw Error(ErrorKind::kInput, "the files given hold no text");
  store.narrow_.shrink_to_fit();
  store.wide_.shrink_to_fit();
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
                                    wide_.capacity() * sizeof(std::int32_t) +
                                    starts_.capacity() * sizeof(std::uint64_t))};
}

std::uint64_t TokenStore::hash() const {
  std::uint64_t hash = 0;
  for (const std::uint64_t start : starts_) hash = mix64(hash + start + 0x9E3779B97F4A7C15u);
  for (const std::uint16_t id : narrow_) hash = mix64(hash + id + 0x9E3779B97F4A7C15u);
  for (const std::int32_t id : wide_) hash = mix64(hash + static_cast<std::uint64_t>(id) + 0x9E3779B97F4A7C15u);
  return hash;
}

void SampleRows::clear() {
  tokens.clear();
  targets.clear();
  segments.clear();
  trained = 0;
}

Sampler::Sampler(const TokenStore& store, DataMode mode, bool separate_documents, Index sequence_tokens,
                 std::uint64_t seed)
    : store_(store), mode_(mode), separate_(separate_documents), sequence_(sequence_tokens), seed_(seed) {
  if (mode == DataMode::kStream && stream_samples() == 0) {
    throw Error(ErrorKind::kInput, fmt::format("the texts hold {} tokens, and a sequence of {} needs {}",
                                               store.tokens(), sequence_tokens, sequence_tokens + 1));
  }
}

Index Sampler::stream_samples() const { return (store_.tokens() - 1) / sequence_; }

// First fit into the last sequences that have room, in the order of the epoch. What is longer than a sequence is cut;
// every token but a document's first is a target once.
void Sampler::pack(Index epoch, Order order) {
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

void Sampler::append_pieces(std::span<const Piece> pieces, SampleRows& out) const {
  const auto begin = static_cast<Index>(out.tokens.size());
  for (const Piece& piece : pieces) {
    out.segments.push_back({static_cast<Index>(out.tokens.size()), piece.length});
    for (Index i = piece.first; i < piece.first + piece.length; ++i) {
      out.tokens.push_back(store_.token(i));
      out.targets.push_back(store_.token(i + 1));
    }
    out.trained += piece.length;
  }
  // Rows that no piece fills are of no segment: token 0, no target.
  out.tokens.resize(static_cast<std::size_t>(begin + sequence_), 0);
  out.targets.resize(static_cast<std::size_t>(begin + sequence_), kIgnored);
}

void Sampler::append_stream(Index sample, SampleRows& out) const {
  const Index first = sample * sequence_;
  const auto row = static_cast<Index>(out.tokens.size());
  Index document = store_.document_of(first), begin = first;
  for (Index i = first; i < first + sequence_; ++i) {
    const bool last = i + 1 == store_.start(document + 1);
    out.tokens.push_back(store_.token(i));
    // What follows a document is another's begin, which nothing foretells.
    const bool ignored = separate_ && last;
    out.targets.push_back(ignored ? kIgnored : store_.token(i + 1));
    if (!ignored) ++out.trained;
    if (!last) continue;
    ++document;
    if (!separate_) continue;
    out.segments.push_back({row + begin - first, i + 1 - begin});
    begin = i + 1;
  }
  if (begin < first + sequence_) out.segments.push_back({row + begin - first, first + sequence_ - begin});
}

Index Sampler::epoch_sequences(Index epoch) {
  if (mode_ == DataMode::kStream) return stream_samples();
  pack(epoch, Order::kShuffled);
  return static_cast<Index>(ends_.size());
}

void Sampler::append(Index epoch, Index index, SampleRows& out) {
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

Index Sampler::ordered_sequences() {
  if (mode_ == DataMode::kStream) return stream_samples();
  pack(0, Order::kAsRead);
  return static_cast<Index>(ends_.size());
}

void Sampler::append_in_order(Index index, SampleRows& out) {
  if (mode_ == DataMode::kStream) return append_stream(index, out);
  pack(0, Order::kAsRead);
  const auto at = static_cast<std::size_t>(index);
  const Index begin = at == 0 ? 0 : ends_[at - 1];
  append_pieces(
      std::span(pieces_).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(ends_[at] - begin)), out);
}

}  // namespace jericho
