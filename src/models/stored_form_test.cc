// What a file keeps and what is meant, both ways.
#include "models/stored_form.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/half.h"
#include "base/math.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::FloatEq;

std::vector<float> there_and_back(StoredValues form, std::vector<float> kept) {
  restore_values(form, kept);
  store_values(form, kept);
  return kept;
}

TEST(StoredForm, OrdersTheRowsOfAHeadInRotationPairs) {
  const RowPairs pairs = {.head_rows = 4, .first = 0, .count = 4};
  std::vector<Index> rows;
  for (Index row = 0; row < 8; ++row) rows.push_back(file_row_of(pairs, row));
  EXPECT_THAT(rows, ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST(StoredForm, OrdersOnlyTheRotatedRowsOfAHead) {
  const RowPairs pairs = {.head_rows = 6, .first = 2, .count = 4};
  std::vector<Index> rows;
  for (Index row = 0; row < 12; ++row) rows.push_back(file_row_of(pairs, row));
  EXPECT_THAT(rows, ElementsAre(0, 1, 2, 4, 3, 5, 6, 7, 8, 10, 9, 11));
}

TEST(StoredForm, MeansOnePlusWAndMinusTheExponential) {
  std::vector<float> norm = {-0.5f, 0.0f, 2.0f};
  restore_values(StoredValues::kWithoutOne, norm);
  EXPECT_THAT(norm, ElementsAre(0.5f, 1.0f, 3.0f));
  std::vector<float> logs = {0.0f, 0.6931472f};
  restore_values(StoredValues::kNegativeLog, logs);
  EXPECT_THAT(logs, ElementsAre(FloatEq(-1.0f), FloatEq(-2.0f)));
}

TEST(StoredForm, GivesBackTheLogarithmsOf16BitCheckpoints) {
  std::vector<float> bf16, f16;
  for (int i = 1; i < 2000; ++i) {
    const float log = static_cast<float>(i) * 0.0025f - 1.0f;
    bf16.push_back(to_float(to_bf16(log)));
    f16.push_back(to_float(to_f16(log)));
  }
  EXPECT_EQ(there_and_back(StoredValues::kNegativeLog, bf16), bf16);
  // Where two halves give one exponential, a bf16 may be the shorter answer; what is meant is the same.
  std::vector<float> meant = f16, again = there_and_back(StoredValues::kNegativeLog, f16);
  restore_values(StoredValues::kNegativeLog, meant);
  restore_values(StoredValues::kNegativeLog, again);
  EXPECT_EQ(again, meant);
}

TEST(StoredForm, GivesBackWhatTheLogarithmsOfWholeNumbersMean) {
  std::vector<float> logs;  // as Mamba begins: A = -1 .. -16
  for (int n = 1; n <= 16; ++n) logs.push_back(static_cast<float>(log_double(n)));
  std::vector<float> meant = logs, again = there_and_back(StoredValues::kNegativeLog, logs);
  restore_values(StoredValues::kNegativeLog, meant);
  restore_values(StoredValues::kNegativeLog, again);
  EXPECT_EQ(again, meant);
}

TEST(StoredForm, GivesBackTheNormsOf16BitCheckpoints) {
  std::vector<float> norms;
  for (int i = -100; i < 100; ++i) norms.push_back(to_float(to_bf16(static_cast<float>(i) * 0.017f)));
  EXPECT_EQ(there_and_back(StoredValues::kWithoutOne, norms), norms);
}

}  // namespace
}  // namespace jericho
