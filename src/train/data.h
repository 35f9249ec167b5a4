// The texts of a run as tokens, and which of them each step reads. A document (documents.h) has the tokenizer's own
// begin and end; sequences of a step are functions of (seed, step) alone. Start at TokenStore and SequenceSampler.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "memory/ledger.h"
#include "ops/causal_attention.h"
#include "ops/context.h"
#include "text/tokenizer.h"
#include "train/documents.h"
#include "train/options.h"
#include "train/token_shard.h"

namespace jericho {

// All tokens of some files: of texts in memory, 16 bits each where the vocabulary allows it, then of shards (NAME.bin)
// on the disk, where they are read as they are needed.
class TokenStore {
 public:
  using Progress = std::function<void(Bytes done, Bytes total)>;
  // A conversation, or a prompt with its completion, is cut off after `most_tokens` tokens, and left out where nothing
  // that is trained is left. The documents of a shard are those of its list, or end with the tokenizer's end. Errors as
  // read_documents() and TokenShard, also for a token that the vocabulary lacks; kBudget where the ledger has no room.
  static TokenStore read(const Context& context, const std::vector<std::string>& files, const DocumentOptions& options,
                         Index most_tokens, const Tokenizer& tokenizer, const std::stop_token& stop,
                         const Progress& progress);

  [[nodiscard]] Index tokens() const { return starts_.empty() ? 0 : static_cast<Index>(starts_.back()); }
  [[nodiscard]] Index documents() const { return static_cast<Index>(starts_.size()) - 1; }
  [[nodiscard]] Index start(Index document) const {
    return static_cast<Index>(starts_[static_cast<std::size_t>(document)]);
  }
  [[nodiscard]] Index length(Index document) const { return start(document + 1) - start(document); }
  // The most that read() takes of such files, and that it keeps.
  static Bytes reading_bytes(const std::vector<std::string>& files);

  // Tokens from `first` on. Error(kIo) where a shard cannot be read.
  void read(Index first, std::span<std::int32_t> out) const;
  // Is the token a target?
  [[nodiscard]] bool trained(Index index) const {
    const auto i = static_cast<std::size_t>(index);
    return i >= untrained_.size() || !untrained_[i];
  }
  // The document that holds a token.
  [[nodiscard]] Index document_of(Index token) const;
  [[nodiscard]] Bytes text_bytes() const { return text_bytes_; }  // that are trained; 0: not known, there are shards
  [[nodiscard]] Index trained_tokens() const { return trained_; }
  [[nodiscard]] Index cut_documents() const { return cut_; }  // that were too long
  [[nodiscard]] Index left_out() const { return left_out_; }  // since nothing of them would be trained
  [[nodiscard]] Bytes bytes() const;                          // in memory
  [[nodiscard]] std::uint64_t hash() const;                   // of tokens, documents and what is trained

 private:
  struct Encoded;
  void append(const Encoded& document, bool narrow);
  void append(TokenShard shard, const Tokenizer& tokenizer, const std::stop_token& stop);
  [[nodiscard]] Index tokens_in_memory() const { return std::ssize(narrow_) + std::ssize(wide_); }

  std::vector<std::uint16_t> narrow_;
  std::vector<std::int32_t> wide_;
  std::vector<bool> untrained_;  // of those in memory; what it lacks is trained
  struct PlacedShard {
    TokenShard shard;
    Index first = 0;  // of its tokens among all
  };
  std::vector<PlacedShard> shards_;
  std::uint64_t shards_hash_ = 0;
  Index vocabulary_ = 0;
  std::vector<std::uint64_t> starts_;  // of documents; the last is the end
  Bytes text_bytes_{};
  Index trained_ = 0, cut_ = 0, left_out_ = 0;
  Lease lease_;
};

// Sequences ready for a micro-batch.
struct SampleRows {
  std::vector<std::int32_t> tokens{}, targets{};
  std::vector<AttentionSegment> segments{};
  Index trained = 0;  // targets that are not ignored

  void clear();
};

inline constexpr std::int32_t kIgnored = -100;

class SequenceSampler {
 public:
  // `store` outlives the sampler.
  SequenceSampler(const TokenStore& store, DataMode mode, bool separate_documents, Index sequence_tokens,
                  std::uint64_t seed);

  // Sequences of an epoch: of documents this depends on the epoch, whose packing is made when first asked for.
  [[nodiscard]] Index epoch_sequences(Index epoch);
  // Appends sequence `index` of an epoch, in the epoch's order.
  void append(Index epoch, Index index, SampleRows& out);
  // The same in the order of the files, for held-out texts.
  void append_in_order(Index index, SampleRows& out);
  [[nodiscard]] Index ordered_sequences();

 private:
  struct Piece {
    Index first = 0;   // token
    Index length = 0;  // of tokens
  };
  enum class Order { kShuffled, kAsRead };
  void pack(Index epoch, Order order);
  void append_pieces(std::span<const Piece> pieces, SampleRows& out) const;
  void append_stream(Index sample, SampleRows& out) const;
  [[nodiscard]] Index stream_samples() const;

  const TokenStore& store_;
  DataMode mode_;
  bool separate_;
  Index sequence_;
  std::uint64_t seed_;
  Index packed_epoch_ = -1;  // of pieces_ and ends_; -2: in the order of the files
  std::vector<Piece> pieces_;
  std::vector<Index> ends_;  // of each sequence, in pieces_
};

}  // namespace jericho
