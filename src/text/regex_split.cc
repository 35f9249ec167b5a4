// PCRE2, literals and character classes; Pieces turns matches into pieces as each split behaviour asks.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex_split.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace jericho {
namespace {

// Turns matches and the gaps between them into pieces. Feed spans in order, then finish().
class Pieces {
 public:
  Pieces(std::string_view text, const SplitOptions& options, const EmitPiece& emit)
      : text_(text), options_(options), emit_(emit) {}

  void match(std::size_t begin, std::size_t end) {
    if (begin > at_) span(begin, options_.invert);
    span(end, !options_.invert);
  }
  void finish() {
    if (at_ < text_.size()) span(text_.size(), options_.invert);
    flush();
  }

 private:
  // The text from at_ to `end` is a delimiter or not. open_ is the start of a piece that may still grow.
  void span(std::size_t end, bool delimiter) {
    switch (options_.behavior) {
      case SplitBehavior::kIsolated: flush(); break;
      case SplitBehavior::kRemoved:
        flush();
        if (delimiter) open_ = end;
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (!delimiter || last_delimiter_) flush();
        break;
      case SplitBehavior::kMergedWithNext:
        if (delimiter || !last_delimiter_) flush();
        break;
      case SplitBehavior::kContiguous:
        if (delimiter != last_delimiter_) flush();
        break;
    }
    last_delimiter_ = delimiter;
    at_ = end;
  }
  void flush() {
    if (at_ > open_) emit_(text_.substr(open_, at_ - open_));
    open_ = at_ > open_ ? at_ : open_;
  }

  std::string_view text_;
  const SplitOptions& options_;
  const EmitPiece& emit_;
  std::size_t at_ = 0;
  std::size_t open_ = 0;
  bool last_delimiter_ = false;
};

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::string complaint(int number) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(number, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// One compiled expression. Thread-safe.
class Regex {
 public:
  // Hugging Face's tokenizers run Oniguruma with Ruby's syntax, where ^ and $ hold at every line.
  explicit Regex(std::string_view pattern) : pattern_(pattern) {
    int number = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                      &number, &offset, nullptr));
    if (code_ == nullptr) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("the pattern '{}': {} at byte {}", pattern_, complaint(number), offset));
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where it cannot, the interpreter runs
    limits_.reset(pcre2_match_context_create(nullptr));
    if (limits_ != nullptr) {
      pcre2_set_match_limit(limits_.get(), 10'000'000);
      pcre2_set_heap_limit(limits_.get(), 64 * 1024);  // KiB
    }
  }

  // Calls on_match(begin, end) for the matches from left to right, empty ones included.
  template <class OnMatch>
  void for_each_match(std::string_view text, const OnMatch& on_match) const {
    const std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (data == nullptr) throw std::bad_alloc();
    for (std::size_t at = 0; at <= text.size() && find(text, at, data.get());) {
      const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
      const std::size_t begin = std::max<std::size_t>(span[0], at);
      const std::size_t end = std::max<std::size_t>(span[1], begin);
      on_match(begin, end);
      at = end;
      if (end > begin) continue;
      if (at == text.size()) break;
      at += decode_utf8(text, at).size;
    }
  }

 private:
  bool find(std::string_view text, std::size_t at, pcre2_match_data* data) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int result = pcre2_match(code_.get(), subject, text.size(), at, 0, data, limits_.get());
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its state on the heap
      result = pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_JIT, data, limits_.get());
    }
    if (result >= 0) return true;
    if (result == PCRE2_ERROR_NOMATCH) return false;
    throw Error(ErrorKind::kUnsupported,
                fmt::format("the pattern '{}' fails on this text: {}", pattern_, complaint(result)));
  }

  std::string pattern_;
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> limits_;
};

class RegexSplitter : public Splitter {
 public:
  RegexSplitter(std::string_view pattern, const SplitOptions& options) : regex_(pattern), options_(options) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    Pieces pieces(text, options_, emit);
    regex_.for_each_match(text, [&](std::size_t begin, std::size_t end) {
      if (end > begin) pieces.match(begin, end);  // an empty match separates nothing
    });
    pieces.finish();
  }

 private:
  Regex regex_;
  SplitOptions options_;
};

class ClassSplitter : public Splitter {
 public:
  ClassSplitter(InCharacterClass in_class, const SplitOptions& options) : in_class_(in_class), options_(options) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    Pieces pieces(text, options_, emit);
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint code = decode_utf8(text, at);
      if (in_class_(code.value)) pieces.match(at, at + code.size);
      at += code.size;
    }
    pieces.finish();
  }

 private:
  InCharacterClass in_class_;
  SplitOptions options_;
};

class LiteralSplitter : public Splitter {
 public:
  LiteralSplitter(std::string_view literal, const SplitOptions& options) : literal_(literal), options_(options) {}
  void split(std::string_view text, const EmitPiece& emit) const override {
    Pieces pieces(text, options_, emit);
    for (std::size_t at = text.find(literal_); at != std::string_view::npos;) {
      pieces.match(at, at + literal_.size());
      at = text.find(literal_, at + literal_.size());
    }
    pieces.finish();
  }

 private:
  std::string literal_;
  SplitOptions options_;
};

}  // namespace

std::unique_ptr<Splitter> make_regex_splitter(std::string_view pattern, const SplitOptions& options) {
  return std::make_unique<RegexSplitter>(pattern, options);
}

std::unique_ptr<Splitter> make_literal_splitter(std::string_view literal, const SplitOptions& options) {
  if (literal.empty()) throw Error(ErrorKind::kInput, "a Split pattern is empty");
  return std::make_unique<LiteralSplitter>(literal, options);
}

std::unique_ptr<Splitter> make_class_splitter(InCharacterClass in_class, const SplitOptions& options) {
  return std::make_unique<ClassSplitter>(in_class, options);
}

Rewrite make_regex_rewrite(std::string_view pattern, std::string_view replacement) {
  return [regex = std::make_shared<const Regex>(pattern), to = std::string(replacement)](std::string_view text) {
    std::string out;
    std::size_t written = 0;
    std::size_t last_end = std::string_view::npos;
    regex->for_each_match(text, [&](std::size_t begin, std::size_t end) {
      if (begin == end && begin == last_end) return;  // right behind a match
      out += text.substr(written, begin - written);
      out += to;
      written = last_end = end;
    });
    out += text.substr(written);
    return out;
  };
}

}  // namespace jericho
