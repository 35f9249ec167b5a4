// Prompts that begin as earlier ones did: a session's pages to and from a store on disk. Start at restore() and keep().
#pragma once

#include <span>
#include <vector>

#include "engine/prefix_key.h"
#include "engine/prefix_store.h"
#include "engine/session.h"

namespace jericho {

// One thread; store and session outlive it.
class StoredPrefixes {
 public:
  StoredPrefixes(PrefixStore& store, Session& session, const Sha256& root)
      : store_(store), session_(session), root_(root) {}

  // Fills an empty sequence with what the store has of the prompt; at least its last token remains to be read. Returns
  // how many tokens the sequence has then.
  Index restore(SequenceId sequence, std::span<const TokenId> prompt);
  // Adds the pages of what the sequence has read, the beginning of `tokens`, as far as they are in RAM. Call after
  // every chunk of a prompt, then sync().
  void keep(SequenceId sequence, std::span<const TokenId> tokens);
  void sync() { store_.sync(); }
  [[nodiscard]] const PrefixStore& store() const { return store_; }

 private:
  [[nodiscard]] const Sha256& key(std::span<const TokenId> tokens,
                                  Index page);  // of page - 1: its parent; -1: the root

  PrefixStore& store_;
  Session& session_;
  Sha256 root_;
  std::vector<TokenId> named_{};  // the text that keys_ are of
  std::vector<Sha256> keys_{};    // of its pages
  Index kept_ = 0;                // pages of it that were offered to the store
};

}  // namespace jericho
