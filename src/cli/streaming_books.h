// The books of verbs that stream a model through memory without running it (convert, diff): what is resident, what they
// will add, and the one block their rows pass through, all under --memory.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "memory/arena.h"
#include "memory/ledger.h"

namespace CLI {
class App;
}

namespace jericho::cli {

struct StreamingOptions {
  std::string memory = "auto";
  bool overcommit = false;
  int threads = 0;  // 0: as many as can be kept busy
  void add_flags(CLI::App& verb);
  [[nodiscard]] int chosen_threads() const;  // Error(kUsage)
};

class StreamingBooks {
 public:
  // Call when headers are read: what is resident then, `heap` more, and `buffers` must fit the budget, else
  // Error(kBudget) says what would.
  // `more` is what the verb will lease beside them.
  StreamingBooks(const StreamingOptions& options, const std::string& what, Bytes heap, Bytes buffers, Bytes more = {});

  // The most that `buffers` may be, up to `wanted`; at least `least`, which then may not fit.
  static Bytes room(const StreamingOptions& options, Bytes heap, Bytes least, Bytes wanted);

  [[nodiscard]] Ledger& ledger() { return *ledger_; }
  [[nodiscard]] std::span<std::byte> buffers() const { return block_.bytes(); }

 private:
  std::unique_ptr<Ledger> ledger_;
  Lease standing_;
  Arena block_;
};

}  // namespace jericho::cli
