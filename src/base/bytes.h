// Sizes in bytes as a type of their own, so that an element count can never be taken for one. Sizes are written `8GiB`.
// Start at Bytes; parse_bytes() reads what format_bytes() and people write.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace jericho {

struct Bytes {
  std::int64_t count = 0;
  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) { return count += other.count, *this; }
  constexpr Bytes& operator-=(Bytes other) { return count -= other.count, *this; }
  [[nodiscard]] constexpr std::size_t size() const { return static_cast<std::size_t>(count); }
};

constexpr Bytes operator+(Bytes a, Bytes b) { return {a.count + b.count}; }
constexpr Bytes operator-(Bytes a, Bytes b) { return {a.count - b.count}; }
constexpr Bytes operator*(Bytes a, std::int64_t n) { return {a.count * n}; }
constexpr Bytes operator*(std::int64_t n, Bytes a) { return a * n; }
constexpr Bytes round_up(Bytes size, Bytes unit) { return {(size.count + unit.count - 1) / unit.count * unit.count}; }

constexpr Bytes operator""_B(unsigned long long n) { return {static_cast<std::int64_t>(n)}; }
constexpr Bytes operator""_KiB(unsigned long long n) { return {static_cast<std::int64_t>(n) << 10}; }
constexpr Bytes operator""_MiB(unsigned long long n) { return {static_cast<std::int64_t>(n) << 20}; }
constexpr Bytes operator""_GiB(unsigned long long n) { return {static_cast<std::int64_t>(n) << 30}; }

// "8.00 GiB", "96.0 KiB", "17 B": three significant digits, for people. Use count for machines.
std::string format_bytes(Bytes size);

// NUM UNIT with UNIT one of B K KB KiB M MB MiB G GB GiB T TB TiB in any case and an optional space between: KB, MB, GB
// and TB are powers of 1000; K, M, G, T and KiB ... are powers of 1024. Fractions are allowed and the result is rounded
// down to whole bytes. Nothing for a missing unit, a sign, anything that is no decimal number, or more than 2^62 bytes.
std::optional<Bytes> parse_bytes(std::string_view text);

}  // namespace jericho
