// The step of a tokenizer that turns one piece of text into tokens by merging: its interface, and the merge loop that
// byte-pair encoders share. Byte-pair encoding of text: Sennrich, Haddow, Birch 2016 (arXiv:1508.07909), algorithm 1;
// with a heap and a linked list, as SentencePiece's bpe_model.cc does it, a piece of n symbols costs O(n log n) instead
// of O(n^2).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "text/vocabulary.h"

namespace jericho {

// A run of bytes of the piece being encoded. Merging extends the left one and empties the right one.
struct MergeSymbol {
  std::uint32_t begin = 0;
  std::uint32_t size = 0;  // 0: merged away
  std::int32_t previous = -1;
  std::int32_t next = -1;
  TokenId id = -1;  // -1: no piece
};

struct MergeCandidate {
  std::uint64_t order = 0;  // rank, then position: the least is merged first, leftmost on ties
  std::int32_t right = 0;
  std::uint32_t size = 0;  // of both symbols together; differs when one of them changed since
  TokenId id = -1;
};

// The best way to reach a place in the piece: unigram.h.
struct LatticeNode {
  double score = 0.0;      // of the whole way
  std::uint32_t size = 0;  // of the last piece on it; 0: not reached
  TokenId id = -1;         // of that piece; -1: unknown
};

// Work space of one encode() call, reused from piece to piece.
struct MergeScratch {
  std::vector<MergeSymbol> symbols;
  std::vector<MergeCandidate> heap;
  std::vector<LatticeNode> lattice;
  std::vector<std::uint32_t> path;  // ends of pieces, last one first

  void add(std::size_t begin, std::size_t size, TokenId id) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(size), index - 1, -1, id});
  }
};

struct Merge {
  std::uint32_t rank = 0;  // lower is merged earlier
  TokenId id = -1;         // the piece that results
};

// Merges the symbols of `scratch` until find_merge(left, right), which returns std::optional<Merge>, finds no more.
template <class FindMerge>
void merge_symbols(MergeScratch& scratch, const FindMerge& find_merge) {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto later = [](const MergeCandidate& a, const MergeCandidate& b) { return a.order > b.order; };
  const auto candidate = [&](std::int32_t left, std::int32_t right) -> std::optional<MergeCandidate> {
    if (left < 0 || right < 0) return std::nullopt;
    const MergeSymbol& a = symbols[static_cast<std::size_t>(left)];
    const MergeSymbol& b = symbols[static_cast<std::size_t>(right)];
    const std::optional<Merge> merge = find_merge(a, b);
    if (!merge) return std::nullopt;
    const std::uint64_t order = std::uint64_t{merge->rank} << 32 | static_cast<std::uint32_t>(left);
    return MergeCandidate{order, right, a.size + b.size, merge->id};
  };
  heap.clear();
  for (std::size_t i = 1; i < symbols.size(); ++i) {
    const auto right = static_cast<std::int32_t>(i);
    if (const auto found = candidate(right - 1, right)) heap.push_back(*found);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const MergeCandidate best = heap.back();
    heap.pop_back();
    const auto left_index = static_cast<std::int32_t>(best.order & 0xffffffffu);
    MergeSymbol& left = symbols[static_cast<std::size_t>(left_index)];
    MergeSymbol& right = symbols[static_cast<std::size_t>(best.right)];
    if (left.size == 0 || right.size == 0 || left.next != best.right || left.size + right.size != best.size) continue;
    left.size = best.size;
    left.id = best.id;
    left.next = right.next;
    right.size = 0;
    if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = left_index;
    for (const auto& found : {candidate(left.previous, left_index), candidate(left_index, left.next)}) {
      if (!found) continue;
      heap.push_back(*found);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
}

// A kind of model: byte-level BPE, SentencePiece BPE, ... Immutable and thread-safe; the vocabulary stays with the
// tokenizer.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `piece`, which is not empty and below 2^31 bytes.
  virtual void encode(const Vocabulary& vocabulary, std::string_view piece, MergeScratch& scratch,
                      std::vector<TokenId>& out) const = 0;
  [[nodiscard]] virtual Bytes memory_bytes() const = 0;
};

// True when no piece has a space after another character, so that no merge crosses the start of a word: then words can
// be encoded one by one, with the same tokens and in linear time.
bool pieces_stay_within_words(const Vocabulary& vocabulary);

// The end of the word that starts at `at`: a run of spaces, then everything up to the next space.
std::size_t word_end(std::string_view text, std::size_t at);

}  // namespace jericho
