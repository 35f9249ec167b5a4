// Views: what functions see of memory that somebody else owns. A function takes a view by value and never keeps it.
#pragma once

#include <array>
#include <span>
#include <type_traits>

#include "base/index.h"

namespace jericho {

// Rows of equal length, `row_stride` elements apart: the subset of std::mdspan's interface that is used here.
template <class T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, Index rows, Index cols, Index row_stride)
      : data_(data), extents_{rows, cols}, row_stride_(row_stride) {}
  MatrixView(T* data, Index rows, Index cols) : MatrixView(data, rows, cols, cols) {}
  operator MatrixView<const T>() const  // NOLINT(google-explicit-constructor): adding const is always safe
      requires(!std::is_const_v<T>) {
    return {data_, extents_[0], extents_[1], row_stride_};
  }

  [[nodiscard]] Index extent(int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  [[nodiscard]] Index row_stride() const { return row_stride_; }
  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::span<T> row(Index i) const {
    return {data_ + i * row_stride_, static_cast<std::size_t>(extents_[1])};
  }
  T& operator()(Index i, Index j) const { return data_[i * row_stride_ + j]; }
  [[nodiscard]] MatrixView rows(Index begin, Index count) const {
    return {data_ + begin * row_stride_, count, extents_[1], row_stride_};
  }
  [[nodiscard]] MatrixView cols(Index begin, Index count) const {
    return {data_ + begin, extents_[0], count, row_stride_};
  }

 private:
  T* data_ = nullptr;
  std::array<Index, 2> extents_{};
  Index row_stride_ = 0;
};

}  // namespace jericho
