// The end of the line for a broken precondition.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace jericho {

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "%s:%d: this is a bug in jericho: %s does not hold: %s\n", file, line, condition,
               message.c_str());
  std::abort();
}

}  // namespace jericho
