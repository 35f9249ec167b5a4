// Two event handlers, one for the header and one for the index, and the checks of what they found.
#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "formats/printable.h"

namespace jericho {
namespace {

constexpr std::size_t kMaxDims = 8;

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kInput, message); }

// What both documents have in common: a level counter and the refusal of everything a derived handler does not expect.
class Events : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a bool"); }
  bool number_integer(number_integer_t value) override { unexpected(fmt::format("{}", value)); }
  bool number_unsigned(number_unsigned_t value) override { unexpected(fmt::format("{}", value)); }
  bool number_float(number_float_t, const string_t& text) override { unexpected(text); }
  bool string(string_t& value) override { unexpected(printable(value)); }
  bool binary(binary_t&) override { unexpected("bytes"); }
  bool start_array(std::size_t) override { unexpected("an array"); }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    bad(fmt::format("not valid JSON at byte {}: {}", position, json_complaint(error.what())));
  }

 protected:
  [[nodiscard]] virtual std::string place() const = 0;  // of the event, for people
  [[noreturn]] void unexpected(const std::string& found) const {
    bad(fmt::format("{}: {} is out of place", place(), found));
  }
};

void read_events(std::string_view text, Events& events) { nlohmann::json::sax_parse(text, &events); }

class HeaderEvents final : public Events {
 public:
  explicit HeaderEvents(SafetensorsHeader& header) : header_(header) {}

  bool start_object(std::size_t) override {
    const bool expected = (level_ == 0) || (level_ == 1 && field_ == Field::kNone);
    if (!expected) unexpected("an object");
    ++level_;
    if (level_ == 2 && !in_metadata_) header_.tensors.push_back({.name = name_});
    return true;
  }

  bool end_object() override {
    if (level_ == 2 && !in_metadata_) finish_tensor();
    --level_;
    in_metadata_ = false;
    return true;
  }

  bool key(string_t& key) override {
    if (level_ == 1) {
      name_ = key;
      in_metadata_ = key == "__metadata__";
    } else if (in_metadata_) {
      metadata_key_ = key;
    } else {
      start_field(key);
    }
    return true;
  }

  bool string(string_t& value) override {
    if (level_ == 2 && in_metadata_) {
      header_.metadata[metadata_key_] = value;
    } else if (level_ == 2 && field_ == Field::kDType) {
      dtype_ = value;
      field_ = Field::kNone;
    } else {
      unexpected(printable(value));
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (in_array_ || (field_ != Field::kShape && field_ != Field::kOffsets)) unexpected("an array");
    in_array_ = true;
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    field_ = Field::kNone;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_ || value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      unexpected(fmt::format("{}", value));
    }
    const auto number = static_cast<std::int64_t>(value);
    if (field_ == Field::kShape) {
      if (tensor().shape.size() == kMaxDims) {
        bad(fmt::format("tensor {}: has more than {} dimensions", printable(name_), kMaxDims));
      }
      tensor().shape.push_back(number);
    } else {
      if (offset_count_ == offsets_.size()) unexpected("a third offset");
      offsets_[offset_count_++] = number;
    }
    return true;
  }

 private:
  enum class Field { kNone, kDType, kShape, kOffsets };

  TensorInfo& tensor() { return header_.tensors.back(); }

  [[nodiscard]] std::string place() const override {
    if (level_ == 0) return "outermost value";
    return in_metadata_ ? "__metadata__" : "tensor " + printable(name_);
  }

  void start_field(const std::string& key) {
    if (key == "dtype") {
      field_ = Field::kDType;
    } else if (key == "shape") {
      field_ = Field::kShape;
    } else if (key == "data_offsets") {
      field_ = Field::kOffsets;
    } else {
      unexpected("field " + printable(key));
    }
    const unsigned bit = 1u << static_cast<unsigned>(field_);
    if ((seen_ & bit) != 0) bad(fmt::format("tensor {}: field '{}' stands twice", printable(name_), key));
    seen_ |= bit;
  }

  // Offsets stay relative to the data here: their start is the same for all.
  void finish_tensor() {
    with_context([&] { return "tensor " + printable(name_); },
                 [&] {
                   if (seen_ != 0b1110 || offset_count_ != offsets_.size())
                     bad("lacks one of dtype, shape and two data_offsets");
                   const std::optional<DType> dtype = dtype_from_safetensors(dtype_);
                   if (!dtype) {
                     throw Error(ErrorKind::kUnsupported,
                                 fmt::format("has dtype {}, which is not supported", printable(dtype_)));
                   }
                   const auto [begin, end] = offsets_;
                   if (begin > end) bad(fmt::format("its data go from byte {} to {}", begin, end));
                   tensor().dtype = *dtype;
                   tensor().size = tensor_bytes(*dtype, tensor().shape);
                   if (tensor().size.count != end - begin) {
                     bad(fmt::format("has {} bytes of data, its shape and dtype {} need {}", end - begin,
                                     name_of(*dtype), tensor().size.count));
                   }
                   tensor().offset = begin;
                 });
    seen_ = 0;
    offset_count_ = 0;
  }

  static std::string_view name_of(DType dtype) { return jericho::name(dtype); }

  SafetensorsHeader& header_;
  int level_ = 0;
  bool in_metadata_ = false;
  bool in_array_ = false;
  Field field_ = Field::kNone;
  unsigned seen_ = 0;  // bits of Field
  std::string name_;
  std::string metadata_key_;
  std::string dtype_;
  std::array<std::int64_t, 2> offsets_{};
  std::size_t offset_count_ = 0;
};

class IndexEvents final : public Events {
 public:
  explicit IndexEvents(std::map<std::string, std::string>& files) : files_(files) {}

  bool start_object(std::size_t) override {
    if (++level_ == 2) in_map_ = key_ == "weight_map";
    if (in_map_ && level_ > 2) unexpected("an object");
    if (level_ > kMaxJsonDepth) unexpected("deeper nesting");
    return true;
  }
  bool end_object() override {
    if (level_-- == 2) in_map_ = false;
    return true;
  }
  bool key(string_t& key) override {
    key_ = key;
    return true;
  }
  bool string(string_t& value) override {
    if (!in_map_) return ignore("a text");
    if (!is_bare_file_name(value))
      bad(fmt::format("tensor {}: {} is no name of a file beside the index", printable(key_), printable(value)));
    if (!files_.emplace(key_, value).second) bad(fmt::format("tensor {}: stands twice in the index", printable(key_)));
    return true;
  }
  // "metadata" and whatever else an index holds.
  bool null() override { return ignore("null"); }
  bool boolean(bool) override { return ignore("a bool"); }
  bool number_integer(number_integer_t) override { return ignore("a number"); }
  bool number_unsigned(number_unsigned_t) override { return ignore("a number"); }
  bool number_float(number_float_t, const string_t&) override { return ignore("a number"); }
  bool start_array(std::size_t) override { return ignore("an array"); }

 private:
  bool ignore(const char* what) {
    if (in_map_ || level_ == 0) unexpected(what);
    return true;
  }
  [[nodiscard]] std::string place() const override {
    return level_ == 0 ? "outermost value" : "entry " + printable(key_);
  }

  std::map<std::string, std::string>& files_;
  int level_ = 0;
  bool in_map_ = false;
  std::string key_;
};

void place_tensors(SafetensorsHeader& header, std::int64_t file_size) {
  std::vector<std::int32_t> order(header.tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return header.tensors[a].offset < header.tensors[b].offset; });
  const std::int64_t data_size = file_size - header.data_start;
  std::int64_t free_from = 0;
  for (const std::int32_t i : order) {
    TensorInfo& tensor = header.tensors[i];
    if (tensor.size.count > data_size || tensor.offset > data_size - tensor.size.count) {
      bad(fmt::format("tensor {}: its {} bytes begin at byte {} of the data, which have {}; is the download complete?",
                      printable(tensor.name), tensor.size.count, tensor.offset, data_size));
    }
    if (tensor.size.count > 0 && tensor.offset < free_from) {
      bad(fmt::format("tensor {}: begins at byte {} of the data, within another tensor that ends at {}",
                      printable(tensor.name), tensor.offset, free_from));
    }
    free_from = std::max(free_from, tensor.offset + tensor.size.count);
    tensor.offset += header.data_start;
  }
  std::vector<TensorInfo> in_file_order;
  in_file_order.reserve(order.size());
  for (const std::int32_t i : order) in_file_order.push_back(std::move(header.tensors[i]));
  header.tensors = std::move(in_file_order);
}

SafetensorsHeader parse_header_json(std::string_view json, std::int64_t file_size) {
  SafetensorsHeader header;
  HeaderEvents events(header);
  with_context([] { return "header"; }, [&] { read_events(json, events); });
  index_by_name(header.tensors);  // refuses twins
  header.data_start = 8 + static_cast<std::int64_t>(json.size());
  place_tensors(header, file_size);
  return header;
}

// Of the JSON; `length` is what the first eight bytes say.
std::size_t checked_header_size(std::uint64_t length, std::int64_t file_size) {
  if (length > kMaxSafetensorsHeader.size()) {
    bad(fmt::format("claims a header of {} bytes, expected at most {}: it is no safetensors file", length,
                    kMaxSafetensorsHeader.count));
  }
  if (length < 2 || static_cast<std::int64_t>(length) > file_size - 8) {
    bad(fmt::format("claims a header of {} bytes, the file has {}; is the download complete?", length, file_size));
  }
  return length;
}

constexpr std::string_view kTooShort = "is too short for a safetensors file; is the download complete?";

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, std::int64_t file_size) {
  std::uint64_t length = 0;
  if (start.size() < sizeof length || file_size < 8) bad(std::string(kTooShort));
  std::memcpy(&length, start.data(), sizeof length);
  const std::size_t size = checked_header_size(length, std::min(static_cast<std::int64_t>(start.size()), file_size));
  std::string json(size, '\0');
  std::memcpy(json.data(), start.data() + sizeof length, size);
  return parse_header_json(json, file_size);
}

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  std::uint64_t length = 0;
  if (file.size() < 8) bad(std::string(kTooShort));
  file.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
  std::string json(checked_header_size(length, file.size()), '\0');
  file.read_at(8, std::as_writable_bytes(std::span(json)));
  return parse_header_json(json, file.size());
}

bool is_bare_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

std::map<std::string, std::string> parse_safetensors_index(std::string_view text) {
  std::map<std::string, std::string> files;
  check_json_depth(text, "index");
  IndexEvents events(files);
  with_context([] { return "index"; }, [&] { read_events(text, events); });
  if (files.empty()) bad("index: has no tensors in 'weight_map'");
  return files;
}

SafetensorsModel open_safetensors(const std::filesystem::path& directory) {
  SafetensorsModel model;
  const auto read = [&model](const std::filesystem::path& path) {
    SafetensorsHeader header =
        with_context([&] { return path.string(); }, [&] { return read_safetensors_header(InputFile(path)); });
    for (TensorInfo& tensor : header.tensors) {
      tensor.file = static_cast<int>(model.files.size());
      model.tensors.push_back(std::move(tensor));
    }
    model.files.push_back(path);
  };
  if (const auto single = directory / "model.safetensors";
      std::filesystem::exists(single)) {  // first, as transformers does
    read(single);
    return model;
  }
  const auto index = directory / "model.safetensors.index.json";
  const auto weight_map =
      with_context([&] { return index.string(); },
                   [&] { return parse_safetensors_index(read_whole_file(index, kMaxSafetensorsIndex)); });
  std::set<std::string> shards;
  for (const auto& [name, file] : weight_map) shards.insert(file);
  for (const std::string& shard : shards) {
    if (!std::filesystem::exists(directory / shard)) {
      bad(fmt::format("{}: is missing, the index names it; is the download complete?", (directory / shard).string()));
    }
    read(directory / shard);
  }
  const std::vector<std::int32_t> order =
      with_context([&] { return directory.string(); }, [&] { return index_by_name(model.tensors); });
  auto next = order.begin();
  for (const auto& [name, file] : weight_map) {  // both in the order of names
    while (next != order.end() && model.tensors[*next].name < name) ++next;
    if (next == order.end() || model.tensors[*next].name != name ||
        model.files[model.tensors[*next].file].filename() != file) {
      bad(fmt::format("{}: tensor {} is not in {}, where the index has it", index.string(), printable(name),
                      printable(file)));
    }
  }
  return model;
}

}  // namespace jericho
