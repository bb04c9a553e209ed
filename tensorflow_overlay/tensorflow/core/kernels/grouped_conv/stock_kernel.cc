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

#include "tensorflow/core/kernels/grouped_conv/stock_kernel.h"

#include <string>
#include <unordered_map>
#include <utility>

#include "tensorflow/core/framework/kernel_def.pb.h"
#include "tensorflow/core/framework/kernel_def_builder.h"
#include "tensorflow/core/framework/kernel_def_util.h"
#include "tensorflow/core/lib/core/errors.h"
#include "tensorflow/core/lib/strings/strcat.h"
#include "tensorflow/core/platform/mutex.h"

namespace tensorflow {

void* GlobalKernelRegistry();  // In op_kernel.cc, and in no header.

namespace {

// The registry hands out only the kernel of the highest priority, so a hidden
// one has to be taken from its table. These two structs must have the layout of
// those of the same name in op_kernel.cc; CheckRegistry() finds out.
struct KernelRegistration {
  const KernelDef def;
  const string kernel_class_name;
  std::unique_ptr<kernel_factory::OpKernelFactory> factory;
};

struct KernelRegistry {
  mutex mu;  // Guards `registry`.
  std::unordered_multimap<string, KernelRegistration> registry;
};

KernelRegistry* Registry() {
  return static_cast<KernelRegistry*>(GlobalKernelRegistry());
}

// The CPU kernels for `op` under `label` of which `predicate(def)` holds.
template <typename Predicate>
std::vector<const KernelRegistration*> FindCpuKernels(
    const string& op, const string& label, const Predicate& predicate) {
  std::vector<const KernelRegistration*> found;
  KernelRegistry* registry = Registry();
  mutex_lock lock(registry->mu);
  const auto range = registry->registry.equal_range(
      strings::StrCat(op, ":", DEVICE_CPU, ":", label));
  for (auto it = range.first; it != range.second; ++it) {
    if (predicate(it->second.def)) found.push_back(&it->second);
  }
  return found;
}

bool IsStock(const KernelDef& def) { return def.priority() == 0; }

// Checks that what the structs above show of the kernels for `op` under `label`
// is what TensorFlow's own interface says of them, and that no other library
// overrides them.
Status CheckKernels(const string& op, const string& label) {
  const KernelList kernels = GetRegisteredKernelsForOp(op);
  for (const KernelDef& def : kernels.kernel()) {
    if (def.device_type() != DEVICE_CPU || def.label() != label) continue;
    if (!IsStock(def)) {
      return errors::AlreadyExists("another library overrides ", op);
    }
    const string expected = def.SerializeAsString();
    const auto found =
        FindCpuKernels(op, label, [&](const KernelDef& candidate) {
          return candidate.SerializeAsString() == expected;
        });
    if (found.size() != 1 || found[0]->factory == nullptr) {
      return errors::Internal("TensorFlow's kernel registry does not show ",
                              def.ShortDebugString());
    }
  }
  return Status();
}

Status CheckRegistry(const std::vector<KernelOverride>& overrides) {
  // Comparing sizes first keeps a wrong layout from being searched.
  const size_t expected = GetAllRegisteredKernels().kernel_size();
  {
    KernelRegistry* registry = Registry();
    mutex_lock lock(registry->mu);
    if (registry->registry.size() != expected) {
      return errors::Internal("TensorFlow's kernel registry shows ",
                              registry->registry.size(), " kernels, not ",
                              expected);
    }
  }
  string checked;
  for (const KernelOverride& override : overrides) {
    if (override.op == checked) continue;  // One override a type.
    checked = override.op;
    TF_RETURN_IF_ERROR(CheckKernels(checked, override.label));
  }
  return Status();
}

}  // namespace

Status RegisterAboveStock(const std::vector<KernelOverride>& overrides) {
  TF_RETURN_IF_ERROR(CheckRegistry(overrides));
  for (const KernelOverride& override : overrides) {
    // The registrar only registers: it can go when that is done.
    kernel_factory::OpKernelRegistrar(KernelDefBuilder(override.op)
                                          .Device(DEVICE_CPU)
                                          .Label(override.label)
                                          .TypeConstraint("T", override.type)
                                          .Priority(1)
                                          .Build(),
                                      strings::StrCat("Grouped", override.op),
                                      override.create);
  }
  return Status();
}

Status MakeStockKernel(OpKernelConstruction* context,
                       std::unique_ptr<OpKernel>* kernel) {
  const AttrSlice attrs(context->def());
  // What a node asks for by its label, it has as an attribute.
  string label;
  if (context->HasAttr("_kernel")) {
    TF_RETURN_IF_ERROR(context->GetAttr("_kernel", &label));
  }
  const auto found =
      FindCpuKernels(context->def().op(), label, [&](const KernelDef& def) {
        bool match = false;
        return IsStock(def) && KernelAttrsMatch(def, attrs, &match).ok() &&
               match;
      });
  if (found.size() != 1) {
    return errors::Internal("Found ", found.size(), " stock CPU kernels for ",
                            context->def().op(), " instead of 1");
  }
  kernel->reset(found[0]->factory->Create(context));
  return context->status();
}

}  // namespace tensorflow
