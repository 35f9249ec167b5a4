// What Python's str does to text, by code points of UTF-8: stripping, splitting, letter case, quoting. Broken bytes
// count as one code point each run and are passed through. Start anywhere.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jericho::jinja {

bool is_python_space(char32_t code);  // str.isspace(): White_Space and U+001C to U+001F

std::string_view strip_left(std::string_view text);  // of white space
std::string_view strip_right(std::string_view text);
std::string_view strip_left(std::string_view text, std::string_view chars);  // of any of these code points
std::string_view strip_right(std::string_view text, std::string_view chars);

std::vector<std::string_view> code_points(std::string_view text);
std::size_t count_code_points(std::string_view text);

// str.split(), str.rsplit(): at most `limit` cuts, all when negative. Without a separator, at runs of white space.
std::vector<std::string_view> split_words(std::string_view text, long limit);
std::vector<std::string_view> split_words_from_right(std::string_view text, long limit);
std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, long limit);
std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator, long limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

std::string upper_case(std::string_view text);
std::string lower_case(std::string_view text);
std::string title_case(std::string_view text);  // str.title(): letters after what is no letter
std::string capitalize(std::string_view text);  // the first code point upper, all others lower
bool is_upper_case(std::string_view text);      // has cased letters, and all are upper case
bool is_lower_case(std::string_view text);

void append_code_point(char32_t code, std::string& out);
std::optional<std::string> unescape(std::string_view written);  // a literal's inside; nothing: a broken escape
std::string quoted_repr(std::string_view text);                 // repr(str)
std::string quoted_json(std::string_view text, bool ascii);     // json.dumps(str)

}  // namespace jericho::jinja
