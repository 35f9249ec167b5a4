// One function per rewriting, most of them by rewrite_each().
#include "text/rewrites.h"

#include "text/unicode.h"

namespace jericho {
namespace {

// rewrite(code, out) appends what becomes of a code point.
template <class Rewrite>
std::string rewrite_each(std::string_view text, const Rewrite& rewrite) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code = decode_utf8(text, at);
    if (code.valid) {
      rewrite(code.value, out);
    } else {
      out += text.substr(at, code.size);
    }
    at += code.size;
  }
  return out;
}

template <class Drops>
std::string without(std::string_view text, const Drops& drops) {
  return rewrite_each(text, [&](char32_t code, std::string& out) {
    if (!drops(code)) append_utf8(code, out);
  });
}

// The ranges of tokenizers' bert.rs, whose 0x2B920 is BERT's 0x2B820 misspelt.
bool is_ideograph(char32_t code) {
  return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
         (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

bool is_dropped_by_nmt(char32_t code) {
  return (code >= 0x01 && code <= 0x08) || code == 0x0B || (code >= 0x0E && code <= 0x1F) || code == 0x7F ||
         code == 0x8F || code == 0x9F;
}

bool is_space_to_nmt(char32_t code) {
  return code == 0x09 || code == 0x0A || code == 0x0C || code == 0x0D || code == 0x1680 ||
         (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 || code == 0x2581 || code == 0xFEFF ||
         code == 0xFFFD;
}

}  // namespace

std::string to_lower(std::string_view text) {
  return rewrite_each(text, [](char32_t code, std::string& out) { append_lower(code, out); });
}

std::string strip_marks(std::string_view text) {
  return without(text, [](char32_t code) { return (category(code) & kMark) != 0; });
}

std::string strip_accents(std::string_view text) {
  return without(to_nfd(text), [](char32_t code) { return category(code) == kMn; });
}

std::string clean_nmt(std::string_view text) {
  return rewrite_each(text, [](char32_t code, std::string& out) {
    if (!is_dropped_by_nmt(code)) append_utf8(is_space_to_nmt(code) ? U' ' : code, out);
  });
}

std::string strip_left(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = decode_utf8(text, 0);
    if (!is_white_space(first.value)) break;
    text.remove_prefix(first.size);
  }
  return std::string(text);
}

std::string strip_right(std::string_view text) {
  while (!text.empty()) {
    const CodePoint last = decode_utf8_before(text, text.size());
    if (!is_white_space(last.value)) break;
    text.remove_suffix(last.size);
  }
  return std::string(text);
}

std::string clean_for_bert(std::string_view text) {
  return rewrite_each(text, [](char32_t code, std::string& out) {
    if (code == U'\t' || code == U'\n' || code == U'\r') {
      out.push_back(' ');
    } else if (code != 0 && code != 0xFFFD && (category(code) & kOtherCategory) == 0) {
      append_utf8(is_white_space(code) ? U' ' : code, out);
    }
  });
}

std::string space_ideographs(std::string_view text) {
  return rewrite_each(text, [](char32_t code, std::string& out) {
    if (is_ideograph(code)) out.push_back(' ');
    append_utf8(code, out);
    if (is_ideograph(code)) out.push_back(' ');
  });
}

std::string collapse_spaces(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out.push_back(c);
  }
  while (true) {
    if (out.ends_with(' ')) {
      out.pop_back();
    } else if (out.ends_with(kMetaspace)) {
      out.resize(out.size() - kMetaspace.size());
    } else {
      return out;
    }
  }
}

}  // namespace jericho
