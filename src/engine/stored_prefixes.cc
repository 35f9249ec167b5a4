// Keys of a text's pages, and the pages: see stored_prefixes.h.
#include "engine/stored_prefixes.h"

#include <algorithm>

namespace jericho {
namespace {

std::span<const TokenId> tokens_of(std::span<const TokenId> tokens, Index page) {
  return tokens.subspan(static_cast<std::size_t>(page * kPageTokens), kPageTokens);
}

}  // namespace

// The chain is computed once per text: each chunk of a prompt adds to it.
const Sha256& StoredPrefixes::key(std::span<const TokenId> tokens, Index page) {
  const auto known = static_cast<std::size_t>(std::ssize(keys_) * kPageTokens);
  if (known > tokens.size() || !std::equal(named_.begin(), named_.end(), tokens.begin())) {
    named_.clear();
    keys_.clear();
    kept_ = 0;
  }
  while (std::ssize(keys_) <= page) {
    const auto next = tokens_of(tokens, std::ssize(keys_));
    keys_.push_back(block_key(keys_.empty() ? root_ : keys_.back(), next));
    named_.insert(named_.end(), next.begin(), next.end());
  }
  return page < 0 ? root_ : keys_[static_cast<std::size_t>(page)];
}

Index StoredPrefixes::restore(SequenceId sequence, std::span<const TokenId> prompt) {
  if (prompt.empty()) return 0;
  const auto usable = prompt.first((prompt.size() - 1) / kPageTokens * kPageTokens);
  const auto fill = [&](Index page, std::span<std::byte> bytes) {
    const Sha256 parent = key(usable, page - 1);
    return store_.read(key(usable, page), parent, tokens_of(usable, page), bytes);
  };
  return session_.restore(sequence, usable, fill);
}

void StoredPrefixes::keep(SequenceId sequence, std::span<const TokenId> tokens) {
  const Index pages = std::min(session_.length(sequence), std::ssize(tokens)) / kPageTokens;
  static_cast<void>(key(tokens, pages - 1));  // may find that this is another text
  for (; kept_ < pages; ++kept_) {
    const Sha256 parent = key(tokens, kept_ - 1);
    const Sha256& own = key(tokens, kept_);
    if (store_.contains(own)) continue;
    const auto bytes = session_.page(sequence, kept_);
    if (bytes.empty()) continue;  // on the disk already, where the scratch file has it
    store_.append(own, parent, tokens_of(tokens, kept_), bytes);
  }
}

}  // namespace jericho
