// Names are looked up in a sorted index; replaced tensors are dropped at the end.
#include "formats/quantized/stored_tensors.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "formats/printable.h"

namespace jericho {

StoredTensors::StoredTensors(std::vector<TensorInfo> tensors, ReadTensor read)
    : tensors_(std::move(tensors)),
      by_name_(index_by_name(tensors_)),
      replaced_(tensors_.size()),
      presented_(tensors_.size()),
      read_(std::move(read)) {}

std::int32_t StoredTensors::index_of(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name, [this](std::int32_t i, std::string_view n) {
    return tensors_[static_cast<std::size_t>(i)].name < n;
  });
  return at != by_name_.end() && tensors_[static_cast<std::size_t>(*at)].name == name ? *at : -1;
}

const TensorInfo* StoredTensors::find(std::string_view name) const {
  const std::int32_t at = index_of(name);
  return at < 0 ? nullptr : &tensors_[static_cast<std::size_t>(at)];
}

const TensorInfo& StoredTensors::require(std::string_view name, std::initializer_list<DType> types) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) {
    throw Error(ErrorKind::kInput, fmt::format("tensor {} is missing; is the model complete?", printable(name)));
  }
  if (std::find(types.begin(), types.end(), tensor->dtype) == types.end()) {
    std::vector<std::string_view> names;
    for (const DType type : types) names.push_back(jericho::name(type));
    throw Error(ErrorKind::kInput, fmt::format("tensor {} has type {}, expected {}", printable(name),
                                               jericho::name(tensor->dtype), fmt::join(names, " or ")));
  }
  return *tensor;
}

std::vector<std::byte> StoredTensors::read(const TensorInfo& tensor) const {
  if (tensor.size > kMostRead) {
    throw Error(ErrorKind::kInput, fmt::format("tensor {} has {}, expected at most {}", printable(tensor.name),
                                               format_bytes(tensor.size), format_bytes(kMostRead)));
  }
  return read_(tensor);
}

std::vector<std::string> StoredTensors::modules_with(std::string_view suffix) const {
  std::vector<std::string> modules;
  for (const TensorInfo& tensor : tensors_) {
    if (tensor.name.size() > suffix.size() && tensor.name.ends_with(suffix)) {
      modules.push_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
    }
  }
  return modules;
}

void StoredTensors::present(std::string name, DType dtype, std::vector<Index> shape,
                            std::shared_ptr<const Repacking> repacking) {
  const Bytes unpacked =
      with_context([&] { return "tensor " + printable(name); }, [&] { return tensor_bytes(dtype, shape); });
  static_cast<void>(unpacked);
  TensorInfo weight{.name = std::move(name), .dtype = dtype, .shape = std::move(shape)};
  for (const TensorInfo& part : repacking->parts()) {
    replaced_[static_cast<std::size_t>(index_of(part.name))] = true;
    weight.size += part.size;
  }
  const auto first = static_cast<std::size_t>(index_of(repacking->parts().front().name));
  weight.file = tensors_[first].file;
  weight.offset = tensors_[first].offset;
  weight.repacking = std::move(repacking);
  presented_[first] = std::move(weight);
}

void StoredTensors::drop(const TensorInfo& tensor) {
  replaced_[static_cast<std::size_t>(index_of(tensor.name))] = true;
}

std::vector<TensorInfo> StoredTensors::take() && {
  std::vector<TensorInfo> now;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (!presented_[i].name.empty())
      now.push_back(std::move(presented_[i]));
    else if (!replaced_[i])
      now.push_back(std::move(tensors_[i]));
  }
  index_by_name(now);  // refuses a weight that is there twice, quantized and not
  return now;
}

void expect_shape(const TensorInfo& tensor, const std::vector<Index>& shape) {
  if (tensor.shape == shape) return;
  throw Error(ErrorKind::kInput, fmt::format("tensor {} has shape [{}], expected [{}]", printable(tensor.name),
                                             fmt::join(tensor.shape, ", "), fmt::join(shape, ", ")));
}

void expect_matrix(const TensorInfo& tensor) {
  constexpr Index kMost = Index{1} << 31;
  if (tensor.shape.size() == 2 && std::all_of(tensor.shape.begin(), tensor.shape.end(),
                                              [](Index extent) { return extent >= 1 && extent <= kMost; })) {
    return;
  }
  throw Error(ErrorKind::kInput, fmt::format("tensor {} has shape [{}], expected two dimensions of 1 to 2^31",
                                             printable(tensor.name), fmt::join(tensor.shape, ", ")));
}

}  // namespace jericho
