// Weights that are stored in any type are packed and embedded as their decoded values are, bit for bit.
#include "ops/stored_rows.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/cpu.h"
#include "kernels/packed_matrix.h"
#include "ops/dense.h"
#include "ops/training_rows.h"

namespace jericho {
namespace {

std::vector<DType> stored_types() {
  std::vector<DType> types;
  for (const DTypeInfo& each : kDTypes) {
    if (is_packable(each.dtype) && each.dtype != DType::kF32) types.push_back(each.dtype);
  }
  return types;
}

struct Machine {
  Machine() : pool(2), context{ledger, pool, kernels_for(chosen_cpu_path())} { flush_subnormals(); }
  Ledger ledger{LedgerCaps{.ram = 64_MiB}};
  ThreadPool pool;
  Context context;
};

// Blocks of any bits, and what dequantize_file_row() makes of them; values that are no numbers become zeros.
struct Stored {
  Stored(DType type, Index rows, Index cols) : values(static_cast<std::size_t>(rows * cols)) {
    const Bytes row = stored_row_bytes(type, cols);
    const Index whole = round_up(cols, info(type).block_elements);
    std::mt19937 random(static_cast<unsigned>(type) + 1);
    bytes.resize(row.size() * static_cast<std::size_t>(rows));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0x3fu);
    view = StoredRows(bytes.data(), type, rows, cols);
    std::vector<float> decoded(static_cast<std::size_t>(whole));
    for (Index r = 0; r < rows; ++r) {
      dequantize_file_row(type, whole, view.row(r), decoded.data());
      std::copy_n(decoded.data(), cols, values.data() + r * cols);
    }
  }
  std::vector<std::byte> bytes;
  std::vector<float> values;
  StoredRows view;
};

class EveryStoredType : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, EveryStoredType, testing::ValuesIn(stored_types()),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST_P(EveryStoredType, IsPackedAsItsDecodedValues) {
  const Machine machine;
  std::vector<float> tiles(2 * kTileValues);
  for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 2}, {70, 50}, {131, 700}, {64, 512}, {67, 1091}}) {
    const Stored w(GetParam(), rows, cols);
    for (const DType compute : {DType::kF32, DType::kBF16}) {
      for (const WeightSide side : {WeightSide::kOutput, WeightSide::kInput}) {
        const auto size = static_cast<std::size_t>(packed_weight_cells(compute, rows, cols));
        std::vector<std::uint32_t> actual(size), expected(size);
        pack_weight(machine.context, compute, w.view, side, actual, tiles);
        const MatrixView<const float> decoded(w.values.data(), rows, cols);
        pack_weight(machine.context, compute, decoded, side, expected);
        EXPECT_EQ(actual, expected) << rows << " x " << cols << " in " << name(compute);
      }
    }
  }
}

TEST_P(EveryStoredType, IsEmbeddedAsItsDecodedValues) {
  const Machine machine;
  const Stored table(GetParam(), 9, 86);
  const std::vector<std::int32_t> ids = {8, 0, 3, 3};
  std::vector<float> x(4 * 86);
  embedding_rows(machine.context, table.view, ids, {x.data(), 4, 86});
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const auto row = table.values.begin() + ids[t] * 86;
    EXPECT_TRUE(std::equal(row, row + 86, x.begin() + static_cast<std::ptrdiff_t>(t) * 86)) << t;
  }
}

}  // namespace
}  // namespace jericho
