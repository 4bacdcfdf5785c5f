// Included before each source that defines a module and uses torch.
//
// A module has pybind11 internals of its own (see toolchain.py), hence none of the exception translators that
// torch registers in the shared ones. Without this one a failed TORCH_CHECK would carry twenty lines of stack.
#pragma once

#include <torch/csrc/Exceptions.h>

#include <pybind11/pybind11.h>

namespace {

[[maybe_unused]] const bool swift_plugin_translates_exceptions = [] {
  pybind11::register_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const c10::Error&) {
      torch::translate_exception_to_python(raised);
    }
  });
  return true;
}();

}  // namespace
