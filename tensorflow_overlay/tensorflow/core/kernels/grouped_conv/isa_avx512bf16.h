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

#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,f16c")
#define GROUPED_CONV_ISA avx512bf16
#define GROUPED_CONV_VECTOR_BYTES 64
#define GROUPED_CONV_REGISTERS 32
