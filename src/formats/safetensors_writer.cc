// The header is padded with spaces to a multiple of 8, as the format asks, so that the data begin aligned.
#include "formats/safetensors_writer.h"

#include <array>
#include <cstring>
#include <ostream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "formats/printable.h"

namespace jericho {

void SafetensorsWriter::add_tensor(std::string name, DType dtype, std::vector<Index> shape) {
  JERICHO_CHECK(out_ == nullptr, "tensor {} declared after begin()", name);
  with_context(
      [&] { return "tensor " + printable(name); },
      [&] {
        if (info(dtype).safetensors.empty()) {
          throw Error(ErrorKind::kUnsupported,
                      fmt::format("has type {}, which safetensors lacks", jericho::name(dtype)));
        }
        const Bytes size = tensor_bytes(dtype, shape);
        tensors_.push_back(
            {.name = name, .dtype = dtype, .shape = std::move(shape), .offset = data_size_.count, .size = size});
        data_size_ += size;
      });
}

void SafetensorsWriter::begin(std::ostream& out) {
  JERICHO_CHECK(out_ == nullptr, "begin() twice, after {} bytes", written_);
  out_ = &out;
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata_.empty()) header["__metadata__"] = metadata_;
  for (const TensorInfo& tensor : tensors_) {
    header[tensor.name] = {{"dtype", std::string(info(tensor.dtype).safetensors)},
                           {"shape", tensor.shape},
                           {"data_offsets", {tensor.offset, tensor.offset + tensor.size.count}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::array<char, sizeof length> prefix{};
  std::memcpy(prefix.data(), &length, sizeof length);
  out.write(prefix.data(), prefix.size());
  if (!out.write(text.data(), static_cast<std::streamsize>(text.size()))) {
    throw Error(ErrorKind::kIo, "writing the safetensors file failed; is the disk full?");
  }
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  JERICHO_CHECK(out_ != nullptr, "append() of {} bytes before begin()", bytes.size());
  written_ += static_cast<std::int64_t>(bytes.size());
  JERICHO_CHECK(written_ <= data_size_.count, "{} bytes written, the tensors have {}", written_, data_size_.count);
  if (!out_->write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()))) {
    throw Error(ErrorKind::kIo, "writing the safetensors file failed; is the disk full?");
  }
}

}  // namespace jericho
