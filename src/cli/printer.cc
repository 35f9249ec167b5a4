// Printing a model's text: see printer.h.
#include "cli/printer.h"

#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "text/unicode.h"

namespace jericho::cli {

std::string harmless_to_terminals(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code = decode_utf8(text, at);
    const bool plain =
        code.value == '\t' || code.value == '\n' || (code.value >= 0x20 && code.value < 0x7f) || code.value >= 0xa0;
    if (code.value != '\r') out += plain ? std::string_view(text).substr(at, code.size) : kReplacementCharacter;
    at += code.size;
  }
  return out;
}

Printer::Printer(const Tokenizer& tokenizer, PrinterOptions options)
    : detokenizer_(tokenizer, {.at_start = options.at_start}),
      print_(options.print),
      terminal_(isatty(STDOUT_FILENO) == 1) {}

void Printer::finish() {
  write(detokenizer_.finish());
  if (print_ && !text_.empty() && text_.back() != '\n') std::fputc('\n', stdout);
  std::fflush(stdout);
}

void Printer::write(const std::string& text) {
  text_ += text;
  if (!print_ || text.empty()) return;
  const std::string& shown = terminal_ ? harmless_to_terminals(text) : text;
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  if (std::fflush(stdout) != 0) throw Error(ErrorKind::kIo, "standard output cannot be written");
}

}  // namespace jericho::cli
