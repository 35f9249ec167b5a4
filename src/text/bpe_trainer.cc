// Counts, then merges. A pair knows the words it stood in, so a merge touches those only; a heap holds what each pair's
// count was when it last grew, and an entry that has fallen since is put back with its count. Start at
// BpeTrainer::train().
#include "text/bpe_trainer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <queue>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "text/unicode.h"

namespace jericho {
namespace {

using Id = std::int32_t;

struct Word {
  std::vector<Id> symbols{};
  std::int64_t count = 0;
};

constexpr std::uint64_t key_of(Id left, Id right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

struct Candidate {
  std::int64_t count = 0;
  std::uint64_t key = 0;
  // The most frequent comes first, of equals the pair of the oldest symbols.
  bool operator<(const Candidate& other) const { return count != other.count ? count < other.count : key > other.key; }
};

struct PairWords {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words{};  // that hold the pair or did; ascending within a merge, repeats are possible
};

class Merger {
 public:
  explicit Merger(std::vector<Word> words) : words_(std::move(words)) {
    for (std::uint32_t w = 0; w < words_.size(); ++w) {
      for (std::size_t i = 0; i + 1 < words_[w].symbols.size(); ++i) add(w, i, 1);
    }
    for (const auto& [key, pair] : pairs_) heap_.push({pair.count, key});
  }

  // The most frequent pair of which `allowed`, taken off the heap; nothing when it is seen less than `least` times.
  template <class Allowed>
  std::optional<Candidate> best(std::int64_t least, const Allowed& allowed) {
    while (!heap_.empty()) {
      Candidate top = heap_.top();
      heap_.pop();
      const std::int64_t now = pairs_.at(top.key).count;
      if (now < least) continue;  // it is pushed again when it grows
      if (now != top.count) {
        if (now < top.count) heap_.push({now, top.key});
        continue;
      }
      if (allowed(top.key)) return top;
    }
    return std::nullopt;
  }

  void merge(std::uint64_t key, Id result) {
    const Id left = static_cast<Id>(key >> 32), right = static_cast<Id>(key & 0xffffffffu);
    std::vector<std::uint32_t> where = std::move(pairs_.at(key).words);
    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    grown_.clear();
    for (const std::uint32_t w : where) {
      std::vector<Id>& symbols = words_[w].symbols;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        if (symbols[i] != left || symbols[i + 1] != right) continue;
        if (i > 0) add(w, i - 1, -1);
        add(w, i, -1);
        if (i + 2 < symbols.size()) add(w, i + 1, -1);
        symbols[i] = result;
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        if (i > 0) add(w, i - 1, 1);
        if (i + 1 < symbols.size()) add(w, i, 1);
      }
    }
    for (const std::uint64_t grown : grown_) heap_.push({pairs_.at(grown).count, grown});
  }

 private:
  // One more or one less of the pair at `i` of word w.
  void add(std::uint32_t w, std::size_t i, int sign) {
    const std::uint64_t key = key_of(words_[w].symbols[i], words_[w].symbols[i + 1]);
    PairWords& pair = pairs_[key];
    pair.count += sign * words_[w].count;
    if (sign < 0) return;
    if (pair.words.empty() || pair.words.back() != w) pair.words.push_back(w);
    if (grown_.empty() || grown_.back() != key) grown_.push_back(key);
  }

  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, PairWords> pairs_;
  std::priority_queue<Candidate> heap_;
  std::vector<std::uint64_t> grown_;  // pairs of the present merge
};

// Characters in order of code, of which the more frequent ones make up `coverage` of the text.
std::vector<std::string> covered_characters(const std::vector<std::pair<std::string, std::int64_t>>& pieces,
                                            double coverage) {
  std::map<std::string, std::int64_t, std::less<>> counts;
  std::int64_t all = 0;
  for (const auto& [piece, count] : pieces) {
    for (std::size_t at = 0; at < piece.size();) {
      const CodePoint code = decode_utf8(piece, at);
      const bool control = code.size == 1 && static_cast<unsigned char>(piece[at]) < ' ';  // bytes are better for those
      if (code.valid && !control) counts[piece.substr(at, code.size)] += count, all += count;
      at += code.size;
    }
  }
  std::vector<std::pair<std::int64_t, std::string>> ordered;
  for (const auto& [text, count] : counts) ordered.emplace_back(-count, text);
  std::sort(ordered.begin(), ordered.end());
  std::vector<std::string> kept;
  std::int64_t covered = 0;
  for (const auto& [count, text] : ordered) {
    if (static_cast<double>(covered) >= coverage * static_cast<double>(all)) break;
    covered -= count;
    kept.push_back(text);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

}  // namespace

BpeTrainer::BpeTrainer(Symbols symbols, PreTokenizer pre_tokenizer)
    : symbols_(symbols), pre_tokenizer_(std::move(pre_tokenizer)) {}

void BpeTrainer::add(std::string_view text) {
  const std::string spaced = symbols_ == Symbols::kCharacters ? " " + std::string(text) : std::string();
  if (symbols_ == Symbols::kCharacters) text = spaced;  // SentencePiece's dummy prefix
  pre_tokenizer_.for_each_piece(text, [&](std::string_view piece) {
    const auto [at, is_new] = counts_.try_emplace(std::string(piece), 0);
    ++at->second;
    if (is_new) piece_bytes_ += static_cast<std::int64_t>(piece.size());
  });
}

Bytes BpeTrainer::memory_bytes() const {
  constexpr std::int64_t kOfPiece = 96;  // node, text, count
  return {static_cast<std::int64_t>(counts_.size()) * kOfPiece + piece_bytes_};
}

TrainedMerges BpeTrainer::train(const Options& options, const std::stop_token& stop, const Progress& progress) const {
  if (counts_.empty()) throw Error(ErrorKind::kInput, "the text to learn a vocabulary from is empty");
  std::vector<std::pair<std::string, std::int64_t>> pieces(counts_.begin(), counts_.end());
  std::sort(pieces.begin(), pieces.end());

  TrainedMerges trained;
  std::unordered_map<std::string, Id> known;
  if (symbols_ == Symbols::kBytes) {
    for (int byte = 0; byte < 256; ++byte) trained.symbols.emplace_back(1, static_cast<char>(byte));
  } else {
    trained.symbols = covered_characters(pieces, options.coverage);
  }
  for (std::size_t id = 0; id < trained.symbols.size(); ++id) known.emplace(trained.symbols[id], static_cast<Id>(id));
  trained.first = static_cast<Index>(trained.symbols.size());
  const Index begun = trained.first;
  if (begun >= options.symbols) {
    throw Error(ErrorKind::kInput, fmt::format("a vocabulary of {} has no room for merges beside {} first symbols",
                                               options.symbols, begun));
  }

  std::vector<Word> words;
  for (const auto& [piece, count] : pieces) {
    Word word{.count = count};
    const auto end = [&] {  // what has no symbol parts the word
      if (word.symbols.size() > 1) words.push_back(word);
      word.symbols.clear();
    };
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t size = symbols_ == Symbols::kBytes ? 1 : decode_utf8(piece, at).size;
      const auto found = known.find(piece.substr(at, size));
      if (found == known.end()) {
        end();
      } else {
        word.symbols.push_back(found->second);
      }
      at += size;
    }
    end();
  }

  Merger merger(std::move(words));
  const auto size_of = [&](std::uint64_t half) { return static_cast<Index>(trained.symbols[half].size()); };
  const auto short_enough = [&](std::uint64_t key) {
    return size_of(key >> 32) + size_of(key & 0xffffffffu) <= options.longest;
  };
  while (static_cast<Index>(trained.symbols.size()) < options.symbols) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted while merges were learned");
    const auto best = merger.best(std::max<std::int64_t>(1, options.least), short_enough);
    if (!best) break;
    const std::uint64_t left = best->key >> 32, right = best->key & 0xffffffffu;
    std::string text = trained.symbols[left] + trained.symbols[right];
    const auto [result, is_new] = known.try_emplace(text, static_cast<Id>(trained.symbols.size()));
    if (is_new) trained.symbols.push_back(std::move(text));  // else two ways make one symbol
    trained.merges.push_back({static_cast<Id>(left), static_cast<Id>(right), result->second});
    merger.merge(best->key, result->second);
    if (progress) progress(static_cast<Index>(trained.symbols.size()) - begun, options.symbols - begun);
  }
  return trained;
}

}  // namespace jericho
