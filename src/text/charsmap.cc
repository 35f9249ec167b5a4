// The walk through the double array. Start at Charsmap::match().
#include "text/charsmap.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/unicode.h"

namespace jericho {
namespace {

std::uint32_t read_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// The fields of a unit. Children of a node lie at its place XOR offset XOR byte; the value of a key, at the place of
// its node XOR offset.
std::uint32_t offset_of(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000FFu; }
bool ends_key(std::uint32_t unit) { return (unit >> 8 & 1u) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFFu; }

}  // namespace

Charsmap::Charsmap(std::string_view blob) {
  const auto fail = [](const std::string& what) {
    throw Error(ErrorKind::kInput, fmt::format("precompiled_charsmap: {}", what));
  };
  if (blob.size() < 8) fail(fmt::format("{} bytes are too few", blob.size()));
  const std::uint32_t size = read_u32(blob);
  blob.remove_prefix(4);
  if (size == 0 || size % 4 != 0 || size > blob.size())
    fail(fmt::format("a trie of {} bytes in a table of {}", size, blob.size()));
  trie_.reserve(size / 4);
  for (std::size_t at = 0; at < size; at += 4) trie_.push_back(read_u32(blob.substr(at)));
  replacements_ = blob.substr(size);
  if (!replacements_.empty() && replacements_.back() != '\0') fail("the last replacement has no end");
}

std::optional<Charsmap::Match> Charsmap::match(std::string_view text, Want want) const {
  std::optional<Match> found;
  std::size_t node = offset_of(trie_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || label_of(trie_[node]) != byte) break;
    const bool is_key = ends_key(trie_[node]);
    node ^= offset_of(trie_[node]);
    if (!is_key || node >= trie_.size()) continue;
    const std::size_t begin = value_of(trie_[node]);
    if (begin >= replacements_.size()) continue;
    found = Match{i + 1, std::string_view(replacements_).substr(begin, replacements_.find('\0', begin) - begin)};
    if (want == Want::kShortest) break;
  }
  return found;
}

std::string Charsmap::apply_longest(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::size_t size = 1;
    if (const auto found = match(text, Want::kLongest)) {
      out += found->replacement;
      size = found->size;
    } else if (const CodePoint code = decode_utf8(text, 0); code.valid) {
      out += text.substr(0, code.size);
      size = code.size;
    } else {
      out += kReplacementCharacter;
    }
    text.remove_prefix(size);
  }
  return out;
}

std::string Charsmap::apply_by_grapheme(std::string_view text) const {
  constexpr std::size_t kMostBytes = 5;
  std::string out;
  out.reserve(text.size());
  const auto replace = [&](std::string_view part) {
    const auto found = match(part, Want::kShortest);
    if (found) out += found->replacement;
    return found.has_value();
  };
  while (!text.empty()) {
    const std::string_view cluster = text.substr(0, grapheme_end(text, 0));
    text.remove_prefix(cluster.size());
    if (cluster.size() <= kMostBytes && replace(cluster)) continue;
    for (std::size_t at = 0; at < cluster.size();) {
      const std::string_view one = cluster.substr(at, decode_utf8(cluster, at).size);
      if (!replace(one)) out += one;
      at += one.size();
    }
  }
  return out;
}

Bytes Charsmap::memory_bytes() const {
  return {static_cast<std::int64_t>(trie_.capacity() * sizeof(std::uint32_t) + replacements_.capacity())};
}

}  // namespace jericho
