// Broken preconditions: JERICHO_CHECK(condition, "format", values...) prints the values and the place, then aborts.
// Input from outside never reaches a check; it is an Error (error.h).
#pragma once

#include <string>

#include <fmt/format.h>

namespace jericho {

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace jericho

#define JERICHO_CHECK(condition, ...)                                                                    \
  do {                                                                                                   \
    if (!(condition)) ::jericho::check_failed(__FILE__, __LINE__, #condition, fmt::format(__VA_ARGS__)); \
  } while (false)

// For inner loops: gone in release builds.
#ifdef NDEBUG
#define JERICHO_DCHECK(condition, ...) \
  do {                                 \
  } while (false)
#else
#define JERICHO_DCHECK(condition, ...) JERICHO_CHECK(condition, __VA_ARGS__)
#endif
