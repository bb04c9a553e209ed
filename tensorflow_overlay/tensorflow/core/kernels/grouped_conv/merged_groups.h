/* Copyright 2026 The TensorFlow Grouped Convolution Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
==============================================================================*/

// What the passes that multiply pairs (see PairKernels) have in common: when
// they may, and, for tiles, neighbouring groups as one, with zeros in its
// filter where channels are of different groups. Tiles multiply so fast that
// most of it may be with zeros.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_MERGED_GROUPS_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_MERGED_GROUPS_H_

#include <cstdint>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/kernels.h"

namespace grouped_conv {

// Whether pairs can be used for anything with this x.
bool MayPair(const AllKernels& kernels, const ConvGeometry& geometry,
             const void* x);

// How many neighbouring groups are one for tiles, for the fewest products of
// tiles; 1 if tiles would not be faster so. x is the input, or `backward` the
// output's gradient.
int64_t MergedGroups(const ConvGeometry& geometry, bool backward);

// The convolution with `merged` groups as one.
ConvGeometry WithMergedGroups(const ConvGeometry& geometry, int64_t merged);

// Copies the filter of `geometry` to that of the convolution with merged
// groups, and, of such a filter, takes what is in `geometry`'s.
void MergeFilter(const ConvGeometry& geometry, int64_t merged,
                 const BFloat16* filter, BFloat16* merged_filter,
                 TaskRunner* runner);
void TakeFromMerged(const ConvGeometry& geometry, int64_t merged,
                    const BFloat16* merged_filter, BFloat16* filter,
                    TaskRunner* runner);

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_MERGED_GROUPS_H_
