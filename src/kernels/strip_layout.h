// Where each code and scale of a block format lies in a packed strip (packed_matrix.h describes it in words): the one
// place that packing, the reference kernels and the vector kernels take their offsets from.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "base/index.h"
#include "kernels/packed_matrix.h"
#include "tensor/block_formats.h"

namespace jericho {

template <class Format>
struct StripLayout {
  static constexpr Index kBlockElements = info(Format::kDType).block_elements;
  static constexpr Index kBlockBytes = info(Format::kDType).block_bytes.count;
  static constexpr Index kBlockGroups = kBlockElements / kGroup;
  static constexpr int kCodeBits = Format::kCodeBits;
  static_assert(kCodeBits >= 1 && kCodeBits <= 8);

  static constexpr Index kGroupCodeBytes = kStripRows * kGroup * kCodeBits / 8;  // of all planes
  static constexpr Index kFieldBytes = [] {
    Index bytes = 0;
    for (const ScaleField& field : Format::kScaleFields) bytes += field.width();
    return bytes;
  }();
  static constexpr Index kPackedBlockBytes = kBlockGroups * kGroup * kCodeBits / 8 + kFieldBytes;  // of one row
  static_assert(kPackedBlockBytes == kBlockBytes + Format::kGrowth,
                "a strip takes the bytes that its rows have in the file, or says how many more");

  // Groups of the integer dot that begins with a segment's group `begin`, of those up to `end`.
  static constexpr Index dot_groups(Index begin, Index end) {
    return Format::kSpan == DotSpan::kGroupOf32 ? 1 : Format::kSpan == DotSpan::kBlock ? kBlockGroups : end - begin;
  }

  // From the start of the strip.
  static constexpr Index codes_offset(Index group) { return group * kGroupCodeBytes; }
  static constexpr Index scales_offset(Index cols, Index block) {
    return cols / kGroup * kGroupCodeBytes + block * kStripRows * kFieldBytes;
  }

  // The planes of a code are its size in binary, the widest first: calls f(width, at) for the bits [at, at + width).
  template <class F>
  static constexpr void for_planes(F f) {
    for (const int width : {8, 4, 2, 1}) {
      if ((kCodeBits & width) != 0) f(width, kCodeBits & -(2 * width));
    }
  }

  // `group` points at the group's codes; `column` is within the group.
  static void put_code(std::uint8_t* group, Index row, Index column, std::uint8_t code) {
    const Index quad = column / 4;
    for_planes([&](int width, int at) {
      const unsigned bits = (static_cast<unsigned>(code) >> at) & ((1u << width) - 1);
      group[(at + quad % width) * 64 + row * 4 + column % 4] |=
          static_cast<std::uint8_t>(bits << (quad / width * width));
    });
  }
  static std::uint8_t code(const std::uint8_t* group, Index row, Index column) {
    const Index quad = column / 4;
    unsigned code = 0;
    for_planes([&](int width, int at) {
      const unsigned byte = group[(at + quad % width) * 64 + row * 4 + column % 4];
      code |= ((byte >> (quad / width * width)) & ((1u << width) - 1)) << at;
    });
    return static_cast<std::uint8_t>(code);
  }

  // Field f of row r of a block lies at field_offset(f) + r * width, from the block's scales_offset().
  static constexpr Index field_offset(std::size_t field) {
    Index offset = 0;
    for (std::size_t f = 0; f < field; ++f) offset += kStripRows * Format::kScaleFields[f].width();
    return offset;
  }
  static void put_fields(std::uint8_t* scales, Index row, const std::uint8_t* block) {
    for (std::size_t f = 0; f < Format::kScaleFields.size(); ++f) {
      const ScaleField field = Format::kScaleFields[f];
      std::memcpy(scales + field_offset(f) + row * field.width(), block + field.offset,
                  static_cast<std::size_t>(field.width()));
    }
  }
  static void gather_fields(const std::uint8_t* block, std::uint8_t* fields) {
    for (const ScaleField& field : Format::kScaleFields) {
      std::memcpy(fields, block + field.offset, static_cast<std::size_t>(field.width()));
      fields += field.width();
    }
  }
  static GroupScale group_scale(const std::uint8_t* strip, Index cols, Index row, Index group) {
    const std::uint8_t* scales = strip + scales_offset(cols, group / kBlockGroups);
    std::array<std::uint8_t, kFieldBytes> fields{};
    std::uint8_t* to = fields.data();
    for (std::size_t f = 0; f < Format::kScaleFields.size(); ++f) {
      const int width = Format::kScaleFields[f].width();
      std::memcpy(to, scales + field_offset(f) + row * width, static_cast<std::size_t>(width));
      to += width;
    }
    return Format::scale(fields.data(), static_cast<int>(group % kBlockGroups));
  }
};

}  // namespace jericho
