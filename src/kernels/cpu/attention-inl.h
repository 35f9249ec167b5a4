// The two products of attention on pages, by page type: logits of sixteen positions, and a block's probabilities times
// its values. Both work on rows, the queries of one token and head each; kRows of them share each load. The codes of a
// tile of keys are turned once for all rows, so that its positions lie in lanes. The online softmax around the products
// is in attention_blocks-inl.h.
#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "kernels/attention.h"
#include "kernels/kv_tile.h"

#if defined(JERICHO_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_ATTENTION_INL_H_
#undef JERICHO_ATTENTION_INL_H_
#else
#define JERICHO_ATTENTION_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/transpose-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // Highway's target ends below VNNI; the path asks for it
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {

inline constexpr Index kMaxGroups = kMaxKeyWidth / 32;
inline constexpr Index kHalfBlock = kAttentionBlock / 2;
// Rows that meet keys and values together, and vectors of a value row that are summed together: what registers hold.
inline constexpr int kSharedRows = kWide ? 4 : 2;
inline constexpr int kColumnVectors = kWide ? 4 : 2;

// Rows of one pass, in the form their page type multiplies with, zeros beyond D. Narrow heads come in more rows.
inline constexpr Index kMaxRows = 32;
inline constexpr Index kMaxRowValues = 32 * 256;
HWY_INLINE Index rows_of_width(Index width) { return width <= 256 ? kMaxRows : kMaxRowValues / kMaxKeyWidth; }

struct Queries {
  Index stride = 0;                             // D rounded up to 32
  alignas(64) float value[kMaxRowValues];       // fp32; for bf16 pages scaled and rounded
  alignas(64) std::int8_t code[kMaxRowValues];  // q8 pages
  float scale[kMaxRowValues / 32];              // of each group of codes
  std::int32_t code_sum[kMaxRowValues / 32];    // of each group

  HWY_INLINE const float* values(Index row) const { return value + row * stride; }
  HWY_INLINE const std::int8_t* codes(Index row) const { return code + row * stride; }
  HWY_INLINE Index groups() const { return stride / 32; }
};

// The keys of sixteen positions on a q8 page, positions in lanes.
struct TurnedKeys {
  alignas(64) std::int32_t codes[kMaxKeyWidth / 4][16];  // of four columns, with VNNI each code plus 128
  alignas(64) float scale[kMaxGroups][16];               // of each group
};

// Elements d .. d + 15 of a row, zeros beyond D; nothing outside the row is read.
HWY_INLINE F32x16 load_elements(const float* row, Index d, Index D) { return load_up_to_16(row + d, D - d); }
template <class Half>
HWY_INLINE F32x16 load_halves(const Half* row, Index d, Index D) {
  if (d + 16 <= D) {
    if constexpr (std::is_same_v<Half, F16>) return load_f16(row + d);
    if constexpr (std::is_same_v<Half, BF16>) return load_bf16(row + d);
  }
  Half staged[16] = {};
  std::memcpy(staged, row + d, static_cast<std::size_t>(D - d) * sizeof(Half));
  return load_halves(staged, 0, 16);
}
HWY_INLINE F32x16 load_whole(const float* x) { return load(x); }
HWY_INLINE F32x16 load_whole(const F16* x) { return load_f16(x); }
HWY_INLINE F32x16 load_whole(const BF16* x) { return load_bf16(x); }
HWY_INLINE F32x16 load_elements(const F16* row, Index d, Index D) { return load_halves(row, d, D); }
HWY_INLINE F32x16 load_elements(const BF16* row, Index d, Index D) { return load_halves(row, d, D); }

struct Q8Tile {
  const std::int8_t* codes;
  const F16* scales;  // [16][groups]
};
// Rows of codes of a tile that are read 64 at a time may end that far from the last one.
inline constexpr Index kCodeSlack = 64;
using TileCodes = std::int8_t[kPageTokens * kMaxKeyWidth + kCodeSlack];

// Codes of a q4 tile as q8 has them. Of an even D the rows follow one another: 64 codes from 32 bytes at a time; what
// is read and written beyond is of the same tile, and slack.
HWY_INLINE void unpack_q4(const std::byte* tile, Index D, std::int8_t* out) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(tile);
  if (D % 2 != 0) {
    for (Index s = 0; s < kPageTokens; ++s) {
      for (Index d = 0; d < D; ++d) {
        out[s * D + d] = static_cast<std::int8_t>((bytes[s * (D / 2 + 1) + d / 2] >> (d % 2 * 4) & 15) - 8);
      }
    }
    return;
  }
  const __m256i nibble = _mm256_set1_epi8(15), offset = _mm256_set1_epi8(8);
  for (Index i = 0; i < kPageTokens * D / 2; i += 32) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + i));
    const __m256i even = _mm256_sub_epi8(_mm256_and_si256(both, nibble), offset);
    const __m256i odd = _mm256_sub_epi8(_mm256_and_si256(_mm256_srli_epi16(both, 4), nibble), offset);
    const __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i + 32), _mm256_permute2x128_si256(low, high, 0x31));
  }
}

constexpr bool has_codes(KvType type) { return type == KvType::kQ8 || type == KvType::kQ4; }

// Where the scales of a tile are, and its codes: those of q4 are unpacked to `room` first.
template <KvType kType>
HWY_INLINE Q8Tile code_tile(const std::byte* tile, Index D, std::int8_t* room) {
  if constexpr (kType == KvType::kQ4) {
    unpack_q4(tile, D, room);
    return {room, reinterpret_cast<const F16*>(tile + kPageTokens * ceil_div(D, 2))};
  } else {
    return {reinterpret_cast<const std::int8_t*>(tile), reinterpret_cast<const F16*>(tile + kPageTokens * D)};
  }
}

// The scales of a tile as fp32, [16][groups].
HWY_INLINE void load_scales(const Q8Tile& tile, Index groups, float* out) {
  for (Index i = 0; i < groups; ++i) store(load_f16(tile.scales + 16 * i), out + 16 * i);
}

HWY_INLINE void turn_scales(const Q8Tile& tile, Index groups, TurnedKeys& out) {
  if (groups == 1) return store(load_f16(tile.scales), out.scale[0]);
  if (groups == 2) {
    const F32x16 a = load_f16(tile.scales), b = load_f16(tile.scales + 16);
    store(even_lanes(a, b), out.scale[0]);
    return store(odd_lanes(a, b), out.scale[1]);
  }
  if (groups == 4) {
    const F32x16 a = load_f16(tile.scales), b = load_f16(tile.scales + 16);
    const F32x16 c = load_f16(tile.scales + 32), d = load_f16(tile.scales + 48);
    const F32x16 even_ab = even_lanes(a, b), odd_ab = odd_lanes(a, b);
    const F32x16 even_cd = even_lanes(c, d), odd_cd = odd_lanes(c, d);
    store(even_lanes(even_ab, even_cd), out.scale[0]);
    store(even_lanes(odd_ab, odd_cd), out.scale[1]);
    store(odd_lanes(even_ab, even_cd), out.scale[2]);
    return store(odd_lanes(odd_ab, odd_cd), out.scale[3]);
  }
  alignas(64) float scales[16 * kMaxGroups];
  load_scales(tile, groups, scales);
  for (Index g = 0; g < groups; ++g) {
    for (Index s = 0; s < 16; ++s) out.scale[g][s] = scales[s * groups + g];
  }
}

#if HWY_TARGET == HWY_AVX3
// What is done to four codes as they are turned: VNNI wants one operand unsigned, tiles do not.
inline constexpr std::uint32_t kPlus128 = 0x80808080, kAsTheyAre = 0;  // bits to be flipped

// Columns d .. d + 63 of a tile's keys, four columns a vector. A shorter row at the end is followed by codes or scales
// of the same tile (the queries have zeros there), unless D is so small that it is copied.
HWY_INLINE void turn_codes(const Q8Tile& tile, Index D, Index d, std::uint32_t flipped, __m512i* out) {
  alignas(64) std::int8_t padded[16][64];
  const std::int8_t* rows = tile.codes + d;
  Index stride = D;
  if (D < 32) {
    std::memset(padded, 0, sizeof(padded));
    for (Index s = 0; s < 16; ++s) std::memcpy(padded[s], rows + s * D, static_cast<std::size_t>(D));
    rows = padded[0];
    stride = 64;
  }
  I32x16 quads[16];
  transpose_pairs(reinterpret_cast<const std::byte*>(rows), stride, quads);
  const __m512i flip = _mm512_set1_epi32(static_cast<std::int32_t>(flipped));
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) out[i] = _mm512_xor_si512(quads[i].raw, flip);
}

// For many rows: turned once, read by all of them.
HWY_INLINE void turn_codes(const Q8Tile& tile, Index D, std::uint32_t flipped, TurnedKeys& out) {
  for (Index d = 0; d < D; d += 64) {
    __m512i codes[16];
    turn_codes(tile, D, d, flipped, codes);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm512_store_si512(out.codes[d / 4 + i], codes[i]);
  }
}

// VNNI: the products with code + 128, less 128 times the sum of the query's codes. The keys' codes come from `tile`
// where few rows want them and are then turned here, between registers.
template <int kRows, bool kTurned>
HWY_INLINE void q8_logits(const Q8Tile& tile, const TurnedKeys& keys, const Queries& q, Index D, Index row, float scale,
                          float (*logit)[kAttentionBlock]) {
  const Index groups = q.groups();
  F32x16 acc[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) acc[r] = zero();
  for (Index first = 0; first < groups; first += 2) {
    __m512i codes[16];
    if constexpr (!kTurned) turn_codes(tile, D, 32 * first, kPlus128, codes);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Index g = first + half;
      if (g >= groups) break;
      __m512i dot[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) dot[r] = _mm512_set1_epi32(-128 * q.code_sum[(row + r) * groups + g]);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const __m512i key = kTurned ? _mm512_load_si512(keys.codes[8 * g + i]) : codes[8 * half + i];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          std::int32_t quad;
          std::memcpy(&quad, q.codes(row + r) + 32 * g + 4 * i, 4);
          dot[r] = _mm512_dpbusd_epi32(dot[r], key, _mm512_set1_epi32(quad));
        }
      }
      const F32x16 key_scale = load(keys.scale[g]);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
        acc[r] = fma(multiply(set(q.scale[(row + r) * groups + g]), key_scale), to_float(I32x16{dot[r]}), acc[r]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) store(multiply(acc[r], set(scale)), logit[r]);
}
#else
// The products below take codes as they are stored.
inline constexpr std::uint32_t kPlus128 = 0;
HWY_INLINE void turn_codes(const Q8Tile&, Index, std::uint32_t, TurnedKeys&) {}

// Eight partial sums of the integer dot of 32 codes.
HWY_INLINE __m256i sixteen_codes(const std::int8_t* x) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}
HWY_INLINE __m256i codes_dot(const std::int8_t* key, const std::int8_t* q) {
  return _mm256_add_epi32(_mm256_madd_epi16(sixteen_codes(key), sixteen_codes(q)),
                          _mm256_madd_epi16(sixteen_codes(key + 16), sixteen_codes(q + 16)));
}
HWY_INLINE __m256i sums_of_8_ints(const __m256i* v) {  // exact: any order
  const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

// A group's load of 32 codes may reach past a short last group, into codes or scales of the same tile: the query has
// zeros there.
template <int kRows, bool>
HWY_INLINE void q8_logits(const Q8Tile& tile, const TurnedKeys& keys, const Queries& q, Index D, Index row, float scale,
                          float (*logit)[kAttentionBlock]) {
  const Index groups = q.groups();
  for (int r = 0; r < kRows; ++r) {
    F32x16 acc = zero();
    for (Index g = 0; g < groups; ++g) {
      __m256i parts[16];
#pragma GCC unroll 16
      for (int s = 0; s < 16; ++s) parts[s] = codes_dot(tile.codes + s * D + g * 32, q.codes(row + r) + g * 32);
      alignas(64) std::int32_t dots[16];
      _mm256_store_si256(reinterpret_cast<__m256i*>(dots), sums_of_8_ints(parts));
      _mm256_store_si256(reinterpret_cast<__m256i*>(dots + 8), sums_of_8_ints(parts + 8));
      const F32x16 scales = multiply(set(q.scale[(row + r) * groups + g]), load(keys.scale[g]));
      acc = fma(scales, to_float(load_int(dots)), acc);
    }
    store(multiply(acc, set(scale)), logit[r]);
  }
}
#endif

// f32 and f16 pages: 16 dots at a time, by lanes over D. Columns d .. d + 15 of kSlots keys and kRows queries; fewer
// than sixteen unless kWhole.
template <class Element, int kRows, int kSlots, bool kWhole>
HWY_INLINE void add_products(const Element* keys, Index D, Index d, const Queries& q, Index row, F32x16* acc) {
  F32x16 values[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) values[r] = load(q.values(row + r) + d);
#pragma GCC unroll 16
  for (int s = 0; s < kSlots; ++s) {
    const F32x16 key = kWhole ? load_whole(keys + s * D + d) : load_elements(keys + s * D, d, D);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[r * kSlots + s] = fma(values[r], key, acc[r * kSlots + s]);
  }
}

template <class Element, int kRows>
HWY_INLINE void float_logits(const Element* keys, Index D, const Queries& q, Index row, float scale,
                             float (*logit)[kAttentionBlock]) {
  constexpr int kSlots = kRows == 1 ? 16 : kRows == 2 ? 8 : 4;
  for (int first = 0; first < 16; first += kSlots) {
    F32x16 acc[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) acc[i] = zero();
    Index d = 0;
    for (; d + 16 <= D; d += 16) add_products<Element, kRows, kSlots, true>(keys + first * D, D, d, q, row, acc);
    if (d < D) add_products<Element, kRows, kSlots, false>(keys + first * D, D, d, q, row, acc);
    alignas(64) float dots[16];
    store(multiply(sums_of_16(acc), set(scale)), dots);
    for (int r = 0; r < kRows; ++r) std::memcpy(logit[r] + first, dots + r * kSlots, sizeof(float) * kSlots);
  }
}

// Columns d .. d + 31 of sixteen keys as pairs, positions in lanes; zeros beyond D.
HWY_INLINE void turn_unit(const BF16* keys, Index D, Index d, I32x16* pairs) {
  if (d + 32 <= D) return transpose_pairs(reinterpret_cast<const std::byte*>(keys + d), D * 2, pairs);
  alignas(64) BF16 padded[16][32] = {};
  for (Index s = 0; s < 16; ++s) std::memcpy(padded[s], keys + s * D + d, static_cast<std::size_t>(D - d) * 2);
  transpose_pairs(reinterpret_cast<const std::byte*>(padded), 64, pairs);
}

// bf16 pages: lanes are the sixteen positions; the scale is in q already.
template <int kRows>
HWY_INLINE void bf16_logits(const BF16* keys, Index D, const Queries& queries, Index row,
                            float (*logit)[kAttentionBlock]) {
  const float* q[kRows];
  F32x16 acc[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    q[r] = queries.values(row + r);
    acc[r] = zero();
  }
  for (Index d = 0; d < D; d += 32) {
    I32x16 pairs[16];
    turn_unit(keys, D, d, pairs);
    F32x16 even[kRows], odd[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) even[r] = odd[r] = zero();
#pragma GCC unroll 16
    for (int p = 0; p < 16; ++p) {
      const F32x16 key_even = even_of_pair(pairs[p]), key_odd = odd_of_pair(pairs[p]);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        even[r] = fma(set(q[r][d + 2 * p]), key_even, even[r]);
        odd[r] = fma(set(q[r][d + 2 * p + 1]), key_odd, odd[r]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) acc[r] = add(acc[r], add(even[r], odd[r]));
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) store(acc[r], logit[r]);
}

// logit[r][slot] of rows row .. row + kRows - 1. For pages of codes `codes` and `turned` are of the same tile, the
// codes of the latter where kTurned.
template <KvType kType, int kRows, bool kTurned>
HWY_INLINE void tile_logits(const std::byte* tile, const Q8Tile& codes, const TurnedKeys& turned, const Queries& q,
                            Index D, Index row, float scale, float (*logit)[kAttentionBlock]) {
  if constexpr (kType == KvType::kF32) {
    float_logits<float, kRows>(reinterpret_cast<const float*>(tile), D, q, row, scale, logit);
  } else if constexpr (kType == KvType::kF16) {
    float_logits<F16, kRows>(reinterpret_cast<const F16*>(tile), D, q, row, scale, logit);
  } else if constexpr (kType == KvType::kBF16) {
    bf16_logits<kRows>(reinterpret_cast<const BF16*>(tile), D, q, row, logit);
  } else {
    q8_logits<kRows, kTurned>(codes, turned, q, D, row, scale, logit);
  }
}

struct Visible {  // the positions of a block that take part: offsets from the block's start
  Index from, to;
  bool operator==(const Visible&) const = default;
};

// The values of a block, as they are stored: row(j, d) is position j's from column d on, whose at(i) are the sixteen
// columns from d + 16 i on, d being a multiple of 32 or i 0. Rows of one tile follow one another.
template <class Element>
struct StoredValues {
  const std::byte* const* tiles;
  Index D;
  struct Row {
    const Element* values;
    Index left, D;  // columns from d on, and from a row to the next
    HWY_INLINE F32x16 at(Index i) const { return load_elements(values, 16 * i, left); }
    HWY_INLINE F32x16 whole(Index i) const { return load_whole(values + 16 * i); }
    HWY_INLINE void next() { values += D; }
  };
  HWY_INLINE Row row(Index j, Index d) const {
    return {reinterpret_cast<const Element*>(tiles[j / kPageTokens]) + j % kPageTokens * D + d, D - d, D};
  }
};
// The tiles a block later, or those of this block where there is none.
struct LaterTiles {
  const std::byte* keys[kBlockPages] = {};
  const std::byte* values[kBlockPages] = {};
};
// Asks, position by position, for the same codes a block later: a few lines every ten cycles or so are what memory
// answers without letting a request wait, and the products do not notice.
struct StoredCodes {
  const Q8Tile* tiles;
  const LaterTiles& later;
  Index later_bytes;  // of a position's codes as they are stored
  Index D;
  const float* scales;  // [64][groups]
  struct Row {
    const std::int8_t* codes;
    const float* scales;
    const std::byte* later_key;
    const std::byte* later_value;
    Index D, groups, later_bytes;
    HWY_INLINE F32x16 at(Index i) const {  // 16 codes: at most 15 past the row, inside the tile
      return multiply(load_i8(codes + 16 * i), set(scales[i / 2]));
    }
    HWY_INLINE F32x16 whole(Index i) const { return at(i); }
    HWY_INLINE void next() {
      _mm_prefetch(reinterpret_cast<const char*>(later_key), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(later_value), _MM_HINT_T0);
      codes += D;
      scales += groups;
      later_key += later_bytes;
      later_value += later_bytes;
    }
  };
  HWY_INLINE Row row(Index j, Index d) const {
    const Index groups = kv_groups(D), tile = j / kPageTokens, slot = j % kPageTokens;
    const Index at = slot * later_bytes + d * later_bytes / D;
    return {tiles[tile].codes + slot * D + d,
            scales + j * groups + d / 32,
            later.keys[tile] + at,
            later.values[tile] + at,
            D,
            groups,
            later_bytes};
  }
};
// Of half a block, as fp32: [32][stride], the first at position `first` of the block.
struct StagedValues {
  const float* rows;
  Index stride;
  Index first;
  struct Row {
    const float* values;
    Index stride;
    HWY_INLINE F32x16 at(Index i) const { return load(values + 16 * i); }
    HWY_INLINE F32x16 whole(Index i) const { return at(i); }
    HWY_INLINE void next() { values += stride; }
  };
  HWY_INLINE Row row(Index j, Index d) const { return {rows + (j - first) * stride + d, stride}; }
};

// Of a position, as they are stored; its scales lie behind those of all positions.
HWY_INLINE Index code_bytes(KvType type, Index D) { return kv_row_bytes(type, D).count - 2 * kv_groups(D); }

template <KvType kType>
HWY_INLINE auto stored_values(const std::byte* const* tiles, const Q8Tile* codes, const LaterTiles& later, Index D,
                              const float* scales) {
  if constexpr (kType == KvType::kF32) return StoredValues<float>{tiles, D};
  if constexpr (kType == KvType::kF16) return StoredValues<F16>{tiles, D};
  if constexpr (kType == KvType::kBF16) return StoredValues<BF16>{tiles, D};
  if constexpr (has_codes(kType)) return StoredCodes{codes, later, code_bytes(kType, D), D, scales};
}

// out[r][d ..] = fma chains over the positions, kVectors vectors of d at a time.
template <int kRows, int kVectors, class Values>
HWY_INLINE void add_columns(const Values& values, Visible positions, const float (*p)[kAttentionBlock], Index d,
                            float* out, Index stride) {
  F32x16 acc[kRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) acc[r][i] = load(out + r * stride + d + 16 * i);
  }
  for (Index j = positions.from, end = j; j < positions.to;) {
    end = std::min(positions.to, round_up(j + 1, kPageTokens));
    for (auto value_row = values.row(j, d); j < end; ++j, value_row.next()) {
      F32x16 value[kVectors];
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) value[i] = kVectors == 1 ? value_row.at(0) : value_row.whole(i);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const F32x16 weight = set(p[r][j]);
#pragma GCC unroll 4
        for (int i = 0; i < kVectors; ++i) acc[r][i] = fma(weight, value[i], acc[r][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) store(acc[r][i], out + r * stride + d + 16 * i);
  }
}

// bf16 pages: an even and an odd chain over the visible positions of a half block, then out += even + odd. `p` is
// rounded to bf16 already.
template <int kRows, class Values>
HWY_INLINE void add_bf16_columns(const Values& values, Visible positions, const float (*p)[kAttentionBlock], Index d,
                                 float* out, Index stride) {
  F32x16 even[kRows], odd[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) even[r] = odd[r] = zero();
  Index j = positions.from;
  if (j < positions.to && j % 2 != 0) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) odd[r] = fma(set(p[r][j]), values.row(j, d).at(0), odd[r]);
    ++j;
  }
  for (; j + 2 <= positions.to; j += 2) {
    const F32x16 value_even = values.row(j, d).at(0), value_odd = values.row(j + 1, d).at(0);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      even[r] = fma(set(p[r][j]), value_even, even[r]);
      odd[r] = fma(set(p[r][j + 1]), value_odd, odd[r]);
    }
  }
  if (j < positions.to) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) even[r] = fma(set(p[r][j]), values.row(j, d).at(0), even[r]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) store(add(load(out + r * stride + d), add(even[r], odd[r])), out + r * stride + d);
}

// Columns of a value row: from a multiple of 32, or sixteen of them.
struct Columns {
  Index from, to;
};

// out[r][columns] += p V over the positions of one half block.
template <KvType kType, int kRows, class Values>
HWY_INLINE void add_values(const Values& values, Columns columns, Visible positions, const float (*p)[kAttentionBlock],
                           float* out, Index stride) {
  Index d = columns.from;
  if constexpr (kType == KvType::kBF16) {
    for (; d < columns.to; d += 16) add_bf16_columns<kRows>(values, positions, p, d, out, stride);
  } else {
    for (; d + 16 * kColumnVectors <= columns.to; d += 16 * kColumnVectors)
      add_columns<kRows, kColumnVectors>(values, positions, p, d, out, stride);
    for (; d < columns.to; d += 16) add_columns<kRows, 1>(values, positions, p, d, out, stride);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif

#endif  // per-target guard
