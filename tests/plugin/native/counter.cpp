// A module without torch; START comes from the header beside it.
#include <pybind11/pybind11.h>

#include "start.h"

class Counter {
 public:
  int next() { return value_++; }

 private:
  int value_ = START;
};

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  pybind11::class_<Counter>(m, "Counter").def(pybind11::init<>()).def("next", &Counter::next);
}
