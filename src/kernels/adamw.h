// One step of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) over elements, in the order of operations of
// torch.optim.AdamW; every operation is rounded once:
//   g = g scale;  w = w keep
//   m = fma(m, beta1, (1 - beta1) g);  v = fma(v, beta2, ((1 - beta2) g) g)
//   w = w - (step_size m) / (sqrt(v) / root_correction + epsilon)
// Elements are independent. w, m and v are changed in place. move_weights() is the step of rules that make a direction
// of the gradient first: w = (w - factor g) keep.
#pragma once

#include "base/index.h"

namespace jericho {

struct AdamWStep {
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  float keep = 1;             // 1 - lr weight_decay
  float step_size = 0;        // lr / (1 - beta1^t)
  float root_correction = 1;  // sqrt(1 - beta2^t)
  float scale = 1;            // of the gradient
};

namespace ref {

void adamw(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v);
void move_weights(float factor, float keep, const float* g, Index count, float* w);

}  // namespace ref
}  // namespace jericho
