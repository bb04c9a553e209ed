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

// What graphs check of a convolution before any of it runs.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SHAPE_FUNCTIONS_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SHAPE_FUNCTIONS_H_

namespace tensorflow {

// Puts the checks that the kernels have, as far as a graph knows shapes, before
// the shape functions of the convolution ops. Without them these and Grappler's
// estimates of costs, which come before any kernel, divide by zero strides and
// channels. The ops must be registered, and no graph may be in the making.
void CheckShapesInGraphs();

}  // namespace tensorflow

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SHAPE_FUNCTIONS_H_
