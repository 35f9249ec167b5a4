// Means with their standard errors, of one list of scores or of the difference between two lists over the same
// questions.
#pragma once

#include <span>

namespace jericho {

// A mean and its standard error: the sample's standard deviation (n - 1) over the root of n; 0 for fewer than 2 values.
// For values of 0 and 1 with mean p that is sqrt(p (1 - p) / (n - 1)).
struct Estimate {
  double mean = 0;
  double standard_error = 0;
};

Estimate estimate(std::span<const double> values);  // at least one

// How `other` differs from `base` on the same questions, each score 0 (wrong) or 1 (right).
struct PairedDifference {
  Estimate accuracy{};       // mean of other[i] - base[i]: what both find hard cancels, so it is sharper than two means
  bool significant = false;  // at 5 %
};

// Significant by McNemar's test (Psychometrika 12, 1947) with Edwards' correction for continuity (1948): with b
// questions that only `other` has right and c that only `base` has, |b - c| - 1 > 1.96 sqrt(b + c).
PairedDifference paired_difference(std::span<const double> other, std::span<const double> base);

}  // namespace jericho
