// Cuts text into the pieces that are encoded one by one: words, numbers, runs of punctuation. The cuts of well-known
// models are hand scanners (known_pre_tokenizers.h); other patterns of a tokenizer.json run on PCRE2 (regex_split.h).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/scanners.h"

namespace jericho {

// One cut: calls emit with each piece of the text, in order.
using EmitPiece = std::function<void(std::string_view piece)>;
class Splitter {
 public:
  virtual ~Splitter() = default;
  virtual void split(std::string_view text, const EmitPiece& emit) const = 0;
  [[nodiscard]] virtual Scanner scanner() const { return nullptr; }  // that does it, if one does
};

std::unique_ptr<Splitter> make_scanner_splitter(Scanner scanner);

// A chain of cuts; the empty chain leaves the text whole. Movable, thread-safe.
class PreTokenizer {
 public:
  void add(Scanner scanner);
  void add(std::unique_ptr<Splitter> splitter) { stages_.push_back(std::move(splitter)); }
  void for_each_piece(std::string_view text, const EmitPiece& emit) const { run(0, text, emit); }
  [[nodiscard]] bool empty() const { return stages_.empty(); }
  // The chain, when hand scanners do all of it: what a name in known_pre_tokenizers.h stands for.
  [[nodiscard]] std::optional<std::vector<Scanner>> scanners() const;

 private:
  void run(std::size_t stage, std::string_view text, const EmitPiece& emit) const;

  std::vector<std::unique_ptr<Splitter>> stages_;
};

}  // namespace jericho
