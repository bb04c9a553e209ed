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

#include <algorithm>
#include <map>
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
// those of the same name in op_kernel.cc, of which the first may have more
// members behind: 2.22 added one. So the table is never searched, only walked:
// where its nodes have their hash codes depends on their size. CheckRegistry()
// finds out whether that shows what is registered.
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

using StockKernels = std::vector<const KernelRegistration*>;

bool IsStock(const KernelDef& def) { return def.priority() == 0; }

// What the registry calls the CPU kernels for `op` under `label`.
string KernelKey(const string& op, const string& label) {
  return strings::StrCat(op, ":", DEVICE_CPU, ":", label);
}

// The stock kernels of that key. What was found stays, since kernels are never
// unregistered and a graph makes thousands of them.
StockKernels FindStockKernels(const string& key) {
  static mutex* const mu = new mutex;
  static auto* const found = new std::map<string, StockKernels>;
  mutex_lock lock(*mu);
  StockKernels& kernels = (*found)[key];
  if (kernels.empty()) {
    KernelRegistry* registry = Registry();
    mutex_lock registry_lock(registry->mu);
    for (const auto& entry : registry->registry) {
      if (entry.first == key && IsStock(entry.second.def)) {
        kernels.push_back(&entry.second);
      }
    }
  }
  return kernels;
}

// Checks that what the structs above show of the kernels for `op` under `label`
// is what TensorFlow's own interface says of them, and that no other library
// overrides them.
Status CheckKernels(const string& op, const string& label) {
  const StockKernels stock = FindStockKernels(KernelKey(op, label));
  const KernelList kernels = GetRegisteredKernelsForOp(op);
  for (const KernelDef& def : kernels.kernel()) {
    if (def.device_type() != DEVICE_CPU || def.label() != label) continue;
    if (!IsStock(def)) {
      return errors::AlreadyExists("another library overrides ", op);
    }
    const string expected = def.SerializeAsString();
    const auto is_shown = [&](const KernelRegistration* candidate) {
      return candidate->def.SerializeAsString() == expected &&
             candidate->factory != nullptr;
    };
    if (std::count_if(stock.begin(), stock.end(), is_shown) != 1) {
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

// Whether a stock kernel computes what `override` is for.
bool HasStockKernel(const KernelOverride& override) {
  const StockKernels kernels =
      FindStockKernels(KernelKey(override.op, override.label));
  const auto is_for_type = [&](const KernelRegistration* kernel) {
    for (const auto& constraint : kernel->def.constraint()) {
      const auto& types = constraint.allowed_values().list().type();
      if (constraint.name() == "T" &&
          std::count(types.begin(), types.end(), override.type) == 0) {
        return false;
      }
    }
    return true;
  };
  return std::any_of(kernels.begin(), kernels.end(), is_for_type);
}

}  // namespace

Status RegisterAboveStock(const std::vector<KernelOverride>& overrides,
                          StockKernelsAre stock_kernels_are) {
  TF_RETURN_IF_ERROR(CheckRegistry(overrides));
  for (const KernelOverride& override : overrides) {
    if (stock_kernels_are == StockKernelsAre::kRegistered &&
        !HasStockKernel(override)) {
      continue;
    }
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
  if (attrs.Find("_kernel") != nullptr) {
    TF_RETURN_IF_ERROR(context->GetAttr("_kernel", &label));
  }
  StockKernels found = FindStockKernels(KernelKey(context->def().op(), label));
  const auto differs = [&](const KernelRegistration* candidate) {
    bool match = false;
    return !KernelAttrsMatch(candidate->def, attrs, &match).ok() || !match;
  };
  found.erase(std::remove_if(found.begin(), found.end(), differs), found.end());
  if (found.size() != 1) {
    return errors::Internal("Found ", found.size(), " stock CPU kernels for ",
                            context->def().op(), " instead of 1");
  }
  kernel->reset(found[0]->factory->Create(context));
  return context->status();
}

}  // namespace tensorflow
