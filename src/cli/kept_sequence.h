// One sequence of a session that reads one whole prompt after another and keeps what it has read when the next prompt
// goes on from there. Start at KeptSequence::read().
#pragma once

#include <span>
#include <stop_token>
#include <vector>

#include "engine/session.h"

namespace jericho::cli {

// How many of the tokens that a sequence holds may stay when it is to read `wanted`: all of them when they are the
// beginning of it and something remains to be read, else none. A sequence cannot forget its end alone: a recurrent
// state has no earlier self.
Index kept_tokens(std::span<const TokenId> held, std::span<const TokenId> wanted);

// One thread; the session outlives it.
class KeptSequence {
 public:
  explicit KeptSequence(Session& session) : session_(session), id_(session.open()) {}
  ~KeptSequence() { session_.close(id_); }
  KeptSequence(const KeptSequence&) = delete;
  KeptSequence& operator=(const KeptSequence&) = delete;

  struct Reading {
    std::span<const float> logits{};  // of the last token, valid until the session's next forward pass
    Index kept = 0;                   // tokens of the prompt that were there already
  };
  // Makes the sequence hold `prompt`, which is not empty. Errors as Session::prefill(); what was read before one stays.
  Reading read(std::span<const TokenId> prompt, const std::stop_token& stop, const Session::Progress& progress);
  // Tells which tokens came after the last prompt; the session may have read the first of them only.
  void note(std::span<const TokenId> tokens) { tokens_.insert(tokens_.end(), tokens.begin(), tokens.end()); }

  [[nodiscard]] SequenceId id() const { return id_; }
  [[nodiscard]] Index length() const { return session_.length(id_); }

 private:
  Session& session_;
  SequenceId id_;
  std::vector<TokenId> tokens_{};  // the first length() of them have been read
};

}  // namespace jericho::cli
