// A sequence that is kept between prompts: see kept_sequence.h.
#include "cli/kept_sequence.h"

#include <algorithm>

namespace jericho::cli {

Index kept_tokens(std::span<const TokenId> held, std::span<const TokenId> wanted) {
  const bool begins = held.size() < wanted.size() && std::equal(held.begin(), held.end(), wanted.begin());
  return begins ? std::ssize(held) : 0;
}

KeptSequence::Reading KeptSequence::read(std::span<const TokenId> prompt, const std::stop_token& stop,
                                         const Session::Progress& progress) {
  // An answer that ended in an error may have left tokens in the session that were never noted here.
  const bool noted = length() <= std::ssize(tokens_) && !session_.failed(id_);
  const auto held = std::span<const TokenId>(tokens_).first(noted ? static_cast<std::size_t>(length()) : 0);
  const Index kept = noted ? kept_tokens(held, prompt) : 0;
  if (kept == 0) {
    session_.close(id_);
    id_ = session_.open();
  }
  tokens_.assign(prompt.begin(), prompt.end());
  return {session_.prefill(id_, prompt.subspan(static_cast<std::size_t>(kept)), stop, progress), kept};
}

}  // namespace jericho::cli
