// Two words make two normals: see normals.h.
#include "base/normals.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/math.h"

namespace jericho {

std::array<double, 4> philox_normals(PhiloxCounter counter, PhiloxKey key) {
  const PhiloxCounter words = philox4x32(counter, key);
  const auto uniform = [](std::uint32_t bits) { return (static_cast<double>(bits >> 8) + 0.5) * 0x1p-24; };
  std::array<double, 4> normals{};
  for (std::size_t first = 0; first < 4; first += 2) {
    const double radius = std::sqrt(-2 * log_double(uniform(words[first])));
    const SinCos turn = sin_cos_double(2 * 3.14159265358979323846 * uniform(words[first + 1]));
    normals[first] = radius * turn.cos;
    normals[first + 1] = radius * turn.sin;
  }
  return normals;
}

}  // namespace jericho
