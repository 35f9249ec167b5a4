// The parser walks the header once, front to back; open_gguf() at the end puts split files together.
#include "formats/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/printable.h"

namespace jericho {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie in the file");

constexpr std::int64_t kWindow = 64 << 10;      // bytes read at a time
constexpr std::int64_t kMinKeyValueBytes = 14;  // 8 length, 1 key, 4 type, 1 value
constexpr std::int64_t kMinTensorBytes = 25;    // 8 length, 1 name, 4 dims, 4 type, 8 offset
constexpr std::uint64_t kMaxKeyBytes = 65535;
constexpr std::uint64_t kMaxTensorNameBytes = 63;  // GGML_MAX_NAME less its terminator
constexpr std::uint32_t kMaxDims = 4;              // GGML_MAX_DIMS

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kInput, message); }

// Hands out the header's bytes in order and refuses to go past `end`.
class HeaderReader {
 public:
  HeaderReader(const ReadAt& read_at, std::int64_t end, bool end_is_limit)
      : read_at_(read_at), end_(end), end_is_limit_(end_is_limit) {}

  [[nodiscard]] std::int64_t position() const { return position_; }

  // Throws unless `count` things of at least `unit` bytes each can still follow.
  void expect(std::uint64_t count, std::int64_t unit, const char* what) const {
    const auto left = static_cast<std::uint64_t>(end_ - position_);
    if (count <= left / static_cast<std::uint64_t>(unit)) return;
    if (end_is_limit_)
      bad(fmt::format("{} at byte {}: the header is larger than {}", what, position_, format_bytes({end_})));
    bad(fmt::format("{} at byte {} takes at least {} x {} bytes, the file has {} bytes more; is the download complete?",
                    what, position_, count, unit, left));
  }

  void read(void* out, std::size_t size, const char* what) {
    expect(size, 1, what);
    auto* to = static_cast<std::byte*>(out);
    while (size > 0) {
      if (next_ == window_.size()) refill();
      const std::size_t piece = std::min(size, window_.size() - next_);
      std::memcpy(to, window_.data() + next_, piece);
      next_ += piece;
      position_ += static_cast<std::int64_t>(piece);
      to += piece;
      size -= piece;
    }
  }

  template <class T>
  T number(const char* what) {
    T value{};
    read(&value, sizeof value, what);
    return value;
  }

  std::string text(std::uint64_t limit, const char* what) {
    const auto size = number<std::uint64_t>(what);
    expect(size, 1, what);
    if (size > limit) bad(fmt::format("{} at byte {} has {} bytes, expected at most {}", what, position_, size, limit));
    std::string result(size, '\0');
    if (size > 0) read(result.data(), size, what);
    return result;
  }

 private:
  void refill() {
    window_.resize(static_cast<std::size_t>(std::min(kWindow, end_ - position_)));
    read_at_(position_, window_);
    next_ = 0;
  }

  const ReadAt& read_at_;
  std::int64_t end_;
  bool end_is_limit_;  // the file is longer than any header may be
  std::int64_t position_ = 0;
  std::vector<std::byte> window_;
  std::size_t next_ = 0;
};

// Room for `count` entries to come, though no more than a few: a count may fit the file and still be a lie, and entries
// that are really there can pay for growth.
template <class T>
void reserve_some(std::vector<T>& values, std::uint64_t count) {
  values.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(count, 1024)));
}

// Value types of key-values (enum gguf_type).
enum class ValueType : std::int32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kArray, kU64, kI64, kF64 };

constexpr std::uint64_t kAnyLength = std::numeric_limits<std::uint64_t>::max();

bool read_bool(HeaderReader& in) {
  const auto value = in.number<std::uint8_t>("a bool");
  if (value > 1) bad(fmt::format("a bool is {}, expected 0 or 1", value));
  return value == 1;
}

template <class Stored, class Kept>
MetadataValue read_numbers(HeaderReader& in, std::uint64_t count) {
  in.expect(count, sizeof(Stored), "an array");
  std::vector<Kept> values;
  reserve_some(values, count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(Kept{in.number<Stored>("an array")});
  return values;
}

MetadataValue read_array(HeaderReader& in) {
  const auto type = static_cast<ValueType>(in.number<std::int32_t>("an array type"));
  const auto count = in.number<std::uint64_t>("an array length");
  switch (type) {
    case ValueType::kU8: return read_numbers<std::uint8_t, std::uint64_t>(in, count);
    case ValueType::kI8: return read_numbers<std::int8_t, std::int64_t>(in, count);
    case ValueType::kU16: return read_numbers<std::uint16_t, std::uint64_t>(in, count);
    case ValueType::kI16: return read_numbers<std::int16_t, std::int64_t>(in, count);
    case ValueType::kU32: return read_numbers<std::uint32_t, std::uint64_t>(in, count);
    case ValueType::kI32: return read_numbers<std::int32_t, std::int64_t>(in, count);
    case ValueType::kF32: return read_numbers<float, double>(in, count);
    case ValueType::kU64: return read_numbers<std::uint64_t, std::uint64_t>(in, count);
    case ValueType::kI64: return read_numbers<std::int64_t, std::int64_t>(in, count);
    case ValueType::kF64: return read_numbers<double, double>(in, count);
    case ValueType::kBool: {
      in.expect(count, 1, "an array");
      std::vector<bool> values;
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_bool(in));
      return values;
    }
    case ValueType::kText: {
      in.expect(count, 8, "an array of texts");
      std::vector<std::string> values;
      reserve_some(values, count);
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(in.text(kAnyLength, "a text of an array"));
      return values;
    }
    case ValueType::kArray: throw Error(ErrorKind::kUnsupported, "holds an array of arrays, which no known model uses");
  }
  bad(fmt::format("holds an array of type {}, expected 0 to 12", static_cast<std::int32_t>(type)));
}

MetadataValue read_value(HeaderReader& in, ValueType type) {
  switch (type) {
    case ValueType::kU8: return std::uint64_t{in.number<std::uint8_t>("a value")};
    case ValueType::kI8: return std::int64_t{in.number<std::int8_t>("a value")};
    case ValueType::kU16: return std::uint64_t{in.number<std::uint16_t>("a value")};
    case ValueType::kI16: return std::int64_t{in.number<std::int16_t>("a value")};
    case ValueType::kU32: return std::uint64_t{in.number<std::uint32_t>("a value")};
    case ValueType::kI32: return std::int64_t{in.number<std::int32_t>("a value")};
    case ValueType::kF32: return double{in.number<float>("a value")};
    case ValueType::kBool: return read_bool(in);
    case ValueType::kText: return in.text(kAnyLength, "a text");
    case ValueType::kArray: return read_array(in);
    case ValueType::kU64: return in.number<std::uint64_t>("a value");
    case ValueType::kI64: return in.number<std::int64_t>("a value");
    case ValueType::kF64: return in.number<double>("a value");
  }
  bad(fmt::format("holds a value of type {}, expected 0 to 12", static_cast<std::int32_t>(type)));
}

void read_key_value(HeaderReader& in, GgufHeader& header) {
  std::string key = in.text(kMaxKeyBytes, "a key");
  if (key.empty()) bad(fmt::format("the key that ends at byte {} is empty", in.position()));
  if (header.metadata.has(key)) bad(fmt::format("key {} stands twice in the header", printable(key)));
  with_context([&] { return fmt::format("key {}", printable(key)); },
               [&] {
                 const auto type = static_cast<ValueType>(in.number<std::int32_t>("a value type"));
                 if (key == "general.alignment") {
                   if (type != ValueType::kU32)
                     bad(fmt::format("has type {}, expected 4 (u32)", static_cast<std::int32_t>(type)));
                   const auto alignment = in.number<std::uint32_t>("the alignment");
                   if (!std::has_single_bit(alignment)) bad(fmt::format("is {}, expected a power of two", alignment));
                   header.alignment = alignment;
                   header.metadata.set(key, std::uint64_t{alignment});
                 } else {
                   header.metadata.set(key, read_value(in, type));
                 }
               });
}

// Names of the types that are in the format but not in ours, for the message that refuses them (enum ggml_type).
std::string_view ggml_type_name(std::int32_t id) {
  static constexpr auto kNames = std::to_array<std::pair<std::int32_t, std::string_view>>({{9, "Q8_1"},
                                                                                           {15, "Q8_K"},
                                                                                           {16, "IQ2_XXS"},
                                                                                           {17, "IQ2_XS"},
                                                                                           {18, "IQ3_XXS"},
                                                                                           {19, "IQ1_S"},
                                                                                           {21, "IQ3_S"},
                                                                                           {22, "IQ2_S"},
                                                                                           {29, "IQ1_M"},
                                                                                           {40, "NVFP4"},
                                                                                           {42, "Q2_0"}});
  for (const auto& [known, name] : kNames) {
    if (known == id) return name;
  }
  return "of a kind unknown here";
}

// Leaves offset as it stands in the table: relative to the data, whose start is known only after the last entry.
TensorInfo read_tensor(HeaderReader& in) {
  TensorInfo tensor{.name = in.text(kMaxTensorNameBytes, "a tensor name")};
  if (tensor.name.empty()) bad(fmt::format("the tensor name that ends at byte {} is empty", in.position()));
  with_context([&] { return fmt::format("tensor {}", printable(tensor.name)); },
               [&] {
                 const auto dims = in.number<std::uint32_t>("a number of dimensions");
                 if (dims > kMaxDims) bad(fmt::format("has {} dimensions, expected at most {}", dims, kMaxDims));
                 tensor.shape.resize(dims);
                 for (std::uint32_t d = 0; d < dims; ++d)
                   tensor.shape[dims - 1 - d] = in.number<std::int64_t>("a dimension");
                 const auto type = in.number<std::int32_t>("a tensor type");
                 const std::optional<DType> dtype = dtype_from_gguf(type);
                 if (!dtype) {
                   throw Error(ErrorKind::kUnsupported,
                               fmt::format("has type {} ({}), which is not supported", type, ggml_type_name(type)));
                 }
                 tensor.dtype = *dtype;
                 tensor.size = tensor_bytes(tensor.dtype, tensor.shape);
                 const auto offset = in.number<std::uint64_t>("an offset");
                 if (offset > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
                   bad(fmt::format("has offset {}, which is no place in a file", offset));
                 }
                 tensor.offset = static_cast<std::int64_t>(offset);
               });
  return tensor;
}

// Turns offsets into places in the file and checks that data lie in table order within the file, aligned and without
// overlap.
void place_tensors(GgufHeader& header, std::int64_t header_end, std::int64_t file_size) {
  header.data_start = round_up(header_end, header.alignment);
  std::int64_t free_from = header.data_start;
  for (TensorInfo& tensor : header.tensors) {
    with_context(
        [&] { return fmt::format("tensor {}", printable(tensor.name)); },
        [&] {
          if (tensor.offset % header.alignment != 0) {
            bad(fmt::format("has offset {}, expected a multiple of the alignment {}", tensor.offset, header.alignment));
          }
          std::int64_t end = 0;
          if (__builtin_add_overflow(tensor.offset, header.data_start, &tensor.offset) ||
              __builtin_add_overflow(tensor.offset, tensor.size.count, &end) || end > file_size) {
            bad(fmt::format("its {} bytes begin at byte {}, the file has {}; is the download complete?",
                            tensor.size.count, tensor.offset, file_size));
          }
          if (tensor.offset < free_from) {
            bad(fmt::format("begins at byte {}, within the data before it, which end at {}", tensor.offset, free_from));
          }
          free_from = end;
        });
  }
}

GgufHeader parse(const ReadAt& read_at, std::int64_t available, std::int64_t file_size) {
  HeaderReader in(read_at, std::min(available, kMaxGgufHeader.count), available > kMaxGgufHeader.count);
  if (in.number<std::uint32_t>("the magic") != 0x46554747) bad("does not begin with 'GGUF': it is no GGUF file");

  GgufHeader header;
  header.version = in.number<std::uint32_t>("the version");
  if (header.version != 0 && (header.version & 0xffff) == 0) {
    throw Error(ErrorKind::kUnsupported,
                "is a big-endian GGUF file, made for another kind of machine; get the little-endian one");
  }
  if (header.version == 1) {
    throw Error(ErrorKind::kUnsupported,
                "is a GGUF file of version 1, long out of use; convert the model again to version 3");
  }
  if (header.version != 2 && header.version != 3) {
    throw Error(ErrorKind::kUnsupported, fmt::format("is a GGUF file of version {}, expected 2 or 3", header.version));
  }
  const auto tensors = in.number<std::int64_t>("the number of tensors");
  const auto key_values = in.number<std::int64_t>("the number of key-values");
  if (tensors < 0 || tensors > std::numeric_limits<std::int32_t>::max()) bad(fmt::format("claims {} tensors", tensors));
  if (key_values < 0) bad(fmt::format("claims {} key-values", key_values));
  in.expect(static_cast<std::uint64_t>(key_values), kMinKeyValueBytes, "the key-values");
  in.expect(static_cast<std::uint64_t>(tensors), kMinTensorBytes, "the tensor table");

  for (std::int64_t i = 0; i < key_values; ++i) read_key_value(in, header);
  in.expect(static_cast<std::uint64_t>(tensors), kMinTensorBytes, "the tensor table");
  reserve_some(header.tensors, static_cast<std::uint64_t>(tensors));
  for (std::int64_t i = 0; i < tensors; ++i) header.tensors.push_back(read_tensor(in));
  index_by_name(header.tensors);  // refuses twins
  place_tensors(header, in.position(), file_size);
  return header;
}

// NAME-00001-of-00003.gguf, as llama.cpp's gguf-split names the parts.
std::optional<std::filesystem::path> part_path(const std::filesystem::path& any_part, std::int64_t number) {
  const std::string name = any_part.filename().string();
  constexpr std::string_view kPattern = "-00001-of-00003.gguf";
  if (name.size() <= kPattern.size()) return std::nullopt;
  const std::size_t tail = name.size() - kPattern.size();
  for (std::size_t i = 0; i < kPattern.size(); ++i) {
    const char c = name[tail + i];
    const bool digit = c >= '0' && c <= '9';
    if (kPattern[i] >= '0' && kPattern[i] <= '9' ? !digit : c != kPattern[i]) return std::nullopt;
  }
  std::string part = name;
  part.replace(tail + 1, 5, fmt::format("{:05}", number));
  return any_part.parent_path() / part;
}

GgufHeader read_header(const std::filesystem::path& path) {
  return with_context([&] { return path.string(); },
                      [&] {
                        const InputFile file(path);
                        return parse_gguf_header(
                            [&file](std::int64_t offset, std::span<std::byte> out) { file.read_at(offset, out); },
                            file.size());
                      });
}

}  // namespace

GgufHeader parse_gguf_header(std::span<const std::byte> start, std::int64_t file_size) {
  const ReadAt copy = [start](std::int64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), start.data() + offset, out.size());
  };
  return parse(copy, std::min(static_cast<std::int64_t>(start.size()), file_size), file_size);
}

GgufHeader parse_gguf_header(const ReadAt& read_at, std::int64_t file_size) {
  return parse(read_at, file_size, file_size);
}

GgufModel open_gguf(const FilePart& whole) {
  const InputFile file(whole.path);
  GgufHeader header =
      parse_gguf_header([&](std::int64_t offset, std::span<std::byte> out) { file.read_at(whole.start + offset, out); },
                        whole.size.count);
  for (TensorInfo& tensor : header.tensors) tensor.offset += whole.start;
  return {{whole.path}, std::move(header.tensors), std::move(header.metadata)};
}

GgufModel open_gguf(const std::filesystem::path& path) {
  GgufHeader header = read_header(path);
  const Index parts = header.metadata.integer("split.count").value_or(1);
  if (parts <= 1) return {{path}, std::move(header.tensors), std::move(header.metadata)};

  if (parts > 65535 || !part_path(path, 1)) {
    bad(fmt::format(
        "{}: is one of {} parts of a model, but is not called NAME-00001-of-{:05}.gguf; without the names the other "
        "parts cannot be found",
        path.string(), parts, parts));
  }
  GgufModel model;
  for (Index i = 0; i < parts; ++i) {
    const std::filesystem::path file = *part_path(path, i + 1);
    if (!std::filesystem::exists(file)) {
      bad(fmt::format("{}: part {} of {} is missing; all parts must lie in one directory", file.string(), i + 1,
                      parts));
    }
    GgufHeader part = read_header(file);
    with_context(
        [&] { return file.string(); },
        [&] {
          if (part.metadata.require_integer("split.count") != parts || part.metadata.require_integer("split.no") != i) {
            bad(fmt::format("says it is part {} of {}, expected part {} of {}",
                            part.metadata.require_integer("split.no") + 1, part.metadata.require_integer("split.count"),
                            i + 1, parts));
          }
        });
    for (TensorInfo& tensor : part.tensors) {
      tensor.file = static_cast<int>(i);
      model.tensors.push_back(std::move(tensor));
    }
    model.files.push_back(file);
    if (i == 0) model.metadata = std::move(part.metadata);
  }
  const Index expected = model.metadata.require_integer("split.tensors.count");
  if (expected != static_cast<Index>(model.tensors.size())) {
    bad(fmt::format("{}: the {} parts hold {} tensors, expected {}", path.string(), parts, model.tensors.size(),
                    expected));
  }
  return model;
}

}  // namespace jericho
