// A model's text on standard output as it comes.
#pragma once

#include <string>

#include "text/detokenizer.h"

namespace jericho::cli {

struct PrinterOptions {
  bool at_start = true;  // of a text: see DetokenizerOptions
  bool print = true;     // false: only kept
};

// One thread. On a terminal, control characters that would steer it are shown as U+FFFD: a model's text comes from
// outside.
class Printer {
 public:
  Printer(const Tokenizer& tokenizer, PrinterOptions options);
  void push(TokenId token) { write(detokenizer_.push(token)); }
  void finish();                        // writes what still waits and ends the line
  void write(const std::string& text);  // Error(kIo)
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Detokenizer detokenizer_;
  bool print_;
  bool terminal_;
  std::string text_{};
};

// `text`, whole UTF-8, with U+FFFD for the control characters of C0, C1 and DEL; tab and newline stay, carriage returns
// go.
std::string harmless_to_terminals(const std::string& text);

}  // namespace jericho::cli
