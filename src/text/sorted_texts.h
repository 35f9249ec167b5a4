// Texts in sorted order are a trie: those that begin with given bytes stand side by side, and every further byte
// narrows the range. It takes no memory beyond the order itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

namespace jericho {

// Of [low, high), which agree in their first `depth` bytes and are all longer, those whose next byte is `byte`.
// text_of(*iterator) is a string_view.
template <class Iterator, class TextOf>
std::pair<Iterator, Iterator> narrow(Iterator low, Iterator high, std::size_t depth, char byte, const TextOf& text_of) {
  const auto next_byte = [&](const auto& item) { return static_cast<unsigned char>(text_of(item)[depth]); };
  const auto wanted = static_cast<unsigned char>(byte);
  low = std::lower_bound(low, high, wanted, [&](const auto& item, unsigned char b) { return next_byte(item) < b; });
  high = std::upper_bound(low, high, wanted, [&](unsigned char b, const auto& item) { return b < next_byte(item); });
  return {low, high};
}

}  // namespace jericho
