// Look-ups in the table of element types.
#include "tensor/dtype.h"

#include <algorithm>
#include <cctype>

namespace jericho {
namespace {

template <class Predicate>
std::optional<DType> find_dtype(Predicate predicate) {
  const auto row = std::find_if(kDTypes.begin(), kDTypes.end(), predicate);
  if (row == kDTypes.end()) return std::nullopt;
  return row->dtype;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::optional<DType> dtype_from_name(std::string_view name) {
  return find_dtype([name](const DTypeInfo& row) { return equal_ignoring_case(row.name, name); });
}

std::optional<DType> dtype_from_gguf(std::int64_t type_id) {
  return find_dtype([type_id](const DTypeInfo& row) { return row.gguf_type >= 0 && row.gguf_type == type_id; });
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  return find_dtype([name](const DTypeInfo& row) { return !name.empty() && row.safetensors == name; });
}

}  // namespace jericho
