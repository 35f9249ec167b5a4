// Encodes the header into one string; data pass straight through.
#include "formats/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <ostream>
#include <type_traits>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "formats/printable.h"

namespace jericho {
namespace {

template <class T>
struct TypeId;  // enum gguf_type; 9 is an array
template <>
struct TypeId<std::uint8_t> {
  static constexpr std::int32_t kId = 0;
};
template <>
struct TypeId<std::int8_t> {
  static constexpr std::int32_t kId = 1;
};
template <>
struct TypeId<std::uint16_t> {
  static constexpr std::int32_t kId = 2;
};
template <>
struct TypeId<std::int16_t> {
  static constexpr std::int32_t kId = 3;
};
template <>
struct TypeId<std::uint32_t> {
  static constexpr std::int32_t kId = 4;
};
template <>
struct TypeId<std::int32_t> {
  static constexpr std::int32_t kId = 5;
};
template <>
struct TypeId<float> {
  static constexpr std::int32_t kId = 6;
};
template <>
struct TypeId<bool> {
  static constexpr std::int32_t kId = 7;
};
template <>
struct TypeId<std::string> {
  static constexpr std::int32_t kId = 8;
};
template <>
struct TypeId<std::uint64_t> {
  static constexpr std::int32_t kId = 10;
};
template <>
struct TypeId<std::int64_t> {
  static constexpr std::int32_t kId = 11;
};
template <>
struct TypeId<double> {
  static constexpr std::int32_t kId = 12;
};

template <class T>
void put(std::string& out, T value) {
  static_assert(std::is_arithmetic_v<T> && std::endian::native == std::endian::little);
  const std::size_t at = out.size();
  out.resize(at + sizeof value);
  std::copy_n(reinterpret_cast<const char*>(&value), sizeof value, out.data() + at);
}

void put(std::string& out, const std::string& text) {
  put(out, std::uint64_t{text.size()});
  out += text;
}

template <class T>
void put_value(std::string& out, const T& value) {
  put(out, TypeId<T>::kId);
  put(out, value);
}

template <class T>
void put_value(std::string& out, const std::vector<T>& values) {
  put(out, std::int32_t{9});
  put(out, TypeId<T>::kId);
  put(out, std::uint64_t{values.size()});
  for (const auto& value : values) put(out, static_cast<const T&>(value));
}

}  // namespace

void GgufWriter::set(std::string key, GgufValue value) {
  JERICHO_CHECK(!key.empty() && key.size() <= 65535, "key of {} bytes", key.size());
  const auto same =
      std::find_if(key_values_.begin(), key_values_.end(), [&](const auto& entry) { return entry.first == key; });
  if (same != key_values_.end()) {
    same->second = std::move(value);
  } else {
    key_values_.emplace_back(std::move(key), std::move(value));
  }
}

void GgufWriter::set_alignment(std::uint32_t alignment) {
  JERICHO_CHECK(std::has_single_bit(alignment) && tensors_.empty(), "alignment {} after {} tensors", alignment,
                tensors_.size());
  set("general.alignment", alignment);
  alignment_ = alignment;
}

void GgufWriter::add_tensor(std::string name, DType dtype, std::vector<Index> shape) {
  JERICHO_CHECK(out_ == nullptr, "tensor {} declared after begin()", name);
  with_context(
      [&] { return "tensor " + printable(name); },
      [&] {
        if (info(dtype).gguf_type < 0) {
          throw Error(ErrorKind::kUnsupported, fmt::format("has type {}, which GGUF lacks", jericho::name(dtype)));
        }
        if (name.empty() || name.size() > 63 || shape.size() > 4) {
          throw Error(ErrorKind::kUnsupported,
                      fmt::format("has a name of {} bytes and {} dimensions, GGUF holds 1 to 63 and at most 4",
                                  name.size(), shape.size()));
        }
        const Bytes size = tensor_bytes(dtype, shape);
        const std::int64_t offset =
            tensors_.empty() ? 0 : round_up(tensors_.back().offset + tensors_.back().size.count, alignment_);
        tensors_.push_back({.name = name, .dtype = dtype, .shape = std::move(shape), .offset = offset, .size = size});
      });
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  put(out, std::uint32_t{3});
  put(out, static_cast<std::int64_t>(tensors_.size()));
  put(out, static_cast<std::int64_t>(key_values_.size()));
  for (const auto& [key, value] : key_values_) {
    put(out, key);
    std::visit([&out](const auto& held) { put_value(out, held); }, value);
  }
  for (const TensorInfo& tensor : tensors_) {
    put(out, tensor.name);
    put(out, static_cast<std::uint32_t>(tensor.shape.size()));
    std::for_each(tensor.shape.rbegin(), tensor.shape.rend(), [&out](Index extent) { put(out, extent); });
    put(out, std::int32_t{info(tensor.dtype).gguf_type});
    put(out, static_cast<std::uint64_t>(tensor.offset));
  }
  out.resize(static_cast<std::size_t>(round_up(static_cast<Index>(out.size()), alignment_)), '\0');
  return out;
}

Bytes GgufWriter::file_size() const {
  const auto header_size = static_cast<std::int64_t>(header().size());
  if (tensors_.empty()) return {header_size};
  return {header_size + round_up(tensors_.back().offset + tensors_.back().size.count, alignment_)};
}

void GgufWriter::begin(std::ostream& out) {
  JERICHO_CHECK(out_ == nullptr, "begin() twice, after {} tensors", next_);
  out_ = &out;
  const std::string bytes = header();
  write(bytes.data(), static_cast<std::int64_t>(bytes.size()));
  pad();
}

void GgufWriter::append(std::span<const std::byte> bytes) {
  JERICHO_CHECK(out_ != nullptr, "append() of {} bytes before begin()", bytes.size());
  while (!bytes.empty()) {
    JERICHO_CHECK(next_ < tensors_.size(), "{} bytes more than the tensors have", bytes.size());
    const std::int64_t left = tensors_[next_].size.count - written_;
    const auto piece = static_cast<std::size_t>(std::min(left, static_cast<std::int64_t>(bytes.size())));
    write(bytes.data(), static_cast<std::int64_t>(piece));
    written_ += static_cast<std::int64_t>(piece);
    bytes = bytes.subspan(piece);
    pad();
  }
}

// Ends every tensor that has all its bytes, which an empty one has from the start.
void GgufWriter::pad() {
  while (next_ < tensors_.size() && written_ == tensors_[next_].size.count) {
    const std::string zeros(static_cast<std::size_t>(round_up(written_, alignment_) - written_), '\0');
    write(zeros.data(), static_cast<std::int64_t>(zeros.size()));
    ++next_;
    written_ = 0;
  }
}

void GgufWriter::write(const void* data, std::int64_t size) {
  if (!out_->write(static_cast<const char*>(data), size)) {
    throw Error(ErrorKind::kIo, "writing the GGUF file failed; is the disk full?");
  }
}

}  // namespace jericho
