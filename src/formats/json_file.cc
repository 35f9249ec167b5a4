// One pass over the text finds nesting and Infinity before the parser sees it.
#include "formats/json_file.h"

#include <cstddef>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/input_file.h"

namespace jericho {
namespace {

// Calls visit(i) for every byte outside of strings. Text that is no JSON is visited somehow; the parser will refuse it.
template <class Visit>
void visit_outside_strings(std::string_view text, Visit visit) {
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_string) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        in_string = false;
    } else if (text[i] == '"') {
      in_string = true;
    } else {
      visit(i);
    }
  }
}

}  // namespace

void check_json_depth(std::string_view text, std::string_view what) {
  int depth = 0;
  visit_outside_strings(text, [&](std::size_t i) {
    if (text[i] == '{' || text[i] == '[') ++depth;
    if (text[i] == '}' || text[i] == ']') --depth;
    if (depth > kMaxJsonDepth) {
      throw Error(ErrorKind::kInput,
                  fmt::format("{}: nested deeper than {} levels at byte {}", what, kMaxJsonDepth, i));
    }
  });
}

std::string json_complaint(std::string_view message) {
  if (message.starts_with('[')) message.remove_prefix(std::min(message.find(']') + 2, message.size()));
  return std::string(message);
}

nlohmann::json parse_json(std::string_view text, std::string_view what, Bytes limit) {
  if (text.size() > limit.size()) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: has {}, expected at most {}", what,
                            format_bytes({static_cast<std::int64_t>(text.size())}), format_bytes(limit)));
  }
  check_json_depth(text, what);
  std::string finite(text);
  constexpr std::string_view kInfinity = "Infinity";
  constexpr std::string_view kHuge = "1.79e308";
  static_assert(kInfinity.size() == kHuge.size(), "byte positions in errors stay true");
  visit_outside_strings(text, [&](std::size_t i) {
    if (text[i] == 'I' && text.substr(i).starts_with(kInfinity)) finite.replace(i, kHuge.size(), kHuge);
  });
  try {
    return nlohmann::json::parse(finite);
  } catch (const nlohmann::json::parse_error& error) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: not valid JSON at byte {}: {}", what, error.byte, json_complaint(error.what())));
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::kInput, fmt::format("{}: not valid JSON: {}", what, json_complaint(error.what())));
  }
}

nlohmann::json read_json_file(const std::filesystem::path& path, Bytes limit) {
  const std::string text = with_context([&] { return path.string(); }, [&] { return read_whole_file(path, limit); });
  return parse_json(text, path.string(), limit);
}

}  // namespace jericho
