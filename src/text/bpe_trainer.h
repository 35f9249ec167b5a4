// Learns the merges of byte-pair encoding from text (Sennrich, Haddow & Birch 2016, "Neural machine translation of rare
// words with subword units", arXiv:1508.07909, algorithm 1): pieces of text are counted, and the most frequent pair of
// neighbours becomes a symbol, again and again. Of pairs that are equally frequent the one with the older symbols comes
// first, so a text gives one result. Start at add(), then train().
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "text/pre_tokenizer.h"

namespace jericho {

struct TrainedMerges {
  std::vector<std::string> symbols{};  // the first ones, then the results of merges, as bytes of text; no two are equal
  Index first = 0;                     // how many the merging began with
  struct Merge {
    std::int32_t left = 0, right = 0, result = 0;  // symbols
  };
  std::vector<Merge> merges{};  // in order of rank
};

class BpeTrainer {
 public:
  // What merging begins with: all 256 bytes; or the characters of the text, rare ones left out (SentencePiece's
  // coverage).
  enum class Symbols { kBytes, kCharacters };
  BpeTrainer(Symbols symbols, PreTokenizer pre_tokenizer);

  // Counts the pieces of a text that ends where a piece may end.
  void add(std::string_view text);
  [[nodiscard]] Index pieces() const { return static_cast<Index>(counts_.size()); }  // different ones
  [[nodiscard]] Bytes memory_bytes() const;  // of the counts, about; train() takes four times as much beside them

  struct Options {
    Index symbols = 0;         // to end with, the first ones among them
    std::int64_t least = 2;    // a pair seen less often is not merged
    double coverage = 0.9995;  // of kCharacters: share of the text's characters that have symbols
    Index longest = 32;        // bytes of a symbol
  };
  using Progress = std::function<void(Index done, Index total)>;
  // Fewer symbols where no pair is left that is seen often enough. Error(kInput) when there is no text or room for the
  // first symbols only; Error(kInterrupted) on a stop request.
  [[nodiscard]] TrainedMerges train(const Options& options, const std::stop_token& stop,
                                    const Progress& progress) const;

 private:
  Symbols symbols_;
  PreTokenizer pre_tokenizer_;
  std::unordered_map<std::string, std::int64_t> counts_;
  std::int64_t piece_bytes_ = 0;
};

}  // namespace jericho
