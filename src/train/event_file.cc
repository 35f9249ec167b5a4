// Records of an event file: see event_file.h.
#include "train/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1u) != 0 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}();

std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

template <class T>
void put(std::string& out, T value) {  // little-endian, as this machine is
  std::array<char, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));
  out.append(bytes.data(), bytes.size());
}

// A message of protocol buffers, field by field.
class Message {
 public:
  void fixed64(int field, double value) {
    key(field, 1);
    put(bytes_, value);
  }
  void fixed32(int field, float value) {
    key(field, 5);
    put(bytes_, value);
  }
  void varint(int field, std::uint64_t value) {
    key(field, 0);
    variable(value);
  }
  void text(int field, std::string_view value) {
    key(field, 2);
    variable(value.size());
    bytes_ += value;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, unsigned wire) { variable(static_cast<unsigned>(field) << 3 | wire); }
  void variable(std::uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>((value & 127) | 128);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

std::string framed(std::string_view payload) {
  std::string length, out;
  put(length, static_cast<std::uint64_t>(payload.size()));
  out = length;
  put(out, masked_crc(length));
  out += payload;
  put(out, masked_crc(payload));
  return out;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t c = ~0u;
  for (const char byte : bytes) c = kCrcTable[(c ^ static_cast<unsigned char>(byte)) & 255u] ^ (c >> 8);
  return ~c;
}

std::string version_record(double wall_time) {
  Message event;
  event.fixed64(1, wall_time);
  event.text(3, "brain.Event:2");
  return framed(event.bytes());
}

std::string scalar_record(double wall_time, Index step, std::string_view tag, float value) {
  Message scalar, summary, event;
  scalar.text(1, tag);
  scalar.fixed32(2, value);
  summary.text(1, scalar.bytes());
  event.fixed64(1, wall_time);
  event.varint(2, static_cast<std::uint64_t>(step));
  event.text(5, summary.bytes());
  return framed(event.bytes());
}

EventFile::EventFile(const std::filesystem::path& folder, double wall_time) {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '-';
  const std::filesystem::path path =
      folder / fmt::format("events.out.tfevents.{:.0f}.{}.{}", wall_time, host.data(), getpid());
  out_.open(path, std::ios::binary | std::ios::trunc);
  const std::string first = version_record(wall_time);
  out_.write(first.data(), static_cast<std::streamsize>(first.size()));
  out_.flush();
  if (!out_) throw Error(ErrorKind::kIo, fmt::format("{}: cannot be written; is the disk full?", path.string()));
}

bool EventFile::add(double wall_time, Index step, std::string_view tag, double value) {
  const std::string record = scalar_record(wall_time, step, tag, static_cast<float>(value));
  out_.write(record.data(), static_cast<std::streamsize>(record.size()));
  out_.flush();
  return static_cast<bool>(out_);
}

}  // namespace jericho
