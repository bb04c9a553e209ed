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

#include "tensorflow/core/kernels/grouped_conv/scratch.h"

#include <atomic>
#include <mutex>

namespace grouped_conv {
namespace {

// Never destroyed: threads may outlive the library's other objects.
std::mutex& FreeListMutex() {
  static std::mutex* const mutex = new std::mutex;
  return *mutex;
}

constexpr int64_t kNothing = 0;

}  // namespace

int64_t Scratch::NewContents(int64_t count) {
  static std::atomic<int64_t> next(kNothing + 1);
  return next.fetch_add(count);
}

Scratch::Block* Scratch::free_list_ = nullptr;

Scratch::Scratch() {
  std::lock_guard<std::mutex> lock(FreeListMutex());
  block_ = free_list_;
  content_ = kNothing;
  if (block_ != nullptr) {
    free_list_ = block_->next;
    content_ = block_->content;
  } else {
    block_ = static_cast<Block*>(std::malloc(kScratchBytes));
    if (!ok()) return;
  }
  block_->content = kNothing;
  next_ = reinterpret_cast<char*>(block_ + 1);
  Take<char>(0);
}

Scratch::~Scratch() {
  if (!ok()) return;
  std::lock_guard<std::mutex> lock(FreeListMutex());
  block_->next = free_list_;
  free_list_ = block_;
}

}  // namespace grouped_conv
