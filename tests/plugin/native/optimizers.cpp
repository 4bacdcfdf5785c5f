// Optimisers of every shape that the framework adapts, and a loss that registers itself from C++.
// Lean headers: this file is compiled while the tests run.
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/utils/pybind.h>

#include <utility>
#include <vector>

namespace py = pybind11;
using at::Tensor;

// Only a constructor and step(), derived from nothing; it neither guards against autograd nor against
// parameters without a gradient.
class PlainSGD {
 public:
  PlainSGD(std::vector<Tensor> params, double lr) : params_(std::move(params)), lr_(lr) {}
  void step() {
    for (auto& p : params_) p.sub_(p.grad(), lr_);
  }

 private:
  std::vector<Tensor> params_;
  double lr_;
};

// SGD with momentum. Its rate can be set, and py::pickle gives its state.
class MomentumSGD {
 public:
  MomentumSGD(std::vector<Tensor> params, double lr) : lr(lr), params_(std::move(params)) {
    for (const auto& p : params_) velocity_.push_back(at::zeros_like(p));
  }
  void step() {
    for (size_t i = 0; i < params_.size(); ++i) {
      velocity_[i].mul_(0.9).add_(params_[i].grad());
      params_[i].sub_(velocity_[i], lr);
    }
  }
  static py::tuple save(const MomentumSGD& self) { return py::make_tuple(self.params_, self.velocity_, self.lr); }
  static MomentumSGD load(const py::tuple& state) {
    MomentumSGD made(state[0].cast<std::vector<Tensor>>(), state[2].cast<double>());
    made.velocity_ = state[1].cast<std::vector<Tensor>>();
    return made;
  }

  double lr;

 private:
  std::vector<Tensor> params_, velocity_;
};

struct Stepless {};

Tensor squared(const Tensor& inputs, const Tensor& targets) { return inputs.sub(targets).square().mean(); }

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  py::class_<PlainSGD>(m, "PlainSGD")
      .def(py::init<std::vector<Tensor>, double>(), py::arg("params"), py::arg("lr"))
      .def("step", &PlainSGD::step);
  py::class_<MomentumSGD>(m, "MomentumSGD")
      .def(py::init<std::vector<Tensor>, double>(), py::arg("params"), py::arg("lr"))
      .def("step", &MomentumSGD::step)
      .def_readwrite("lr", &MomentumSGD::lr)
      .def(py::pickle(&MomentumSGD::save, &MomentumSGD::load));
  py::class_<Stepless>(m, "Stepless").def(py::init<>());
  m.def("fail", [] { TORCH_CHECK(false, "lr must be positive"); });
  m.def("squared", &squared, "Mean squared error.");
  py::module_::import("swift.plugin").attr("register_loss")("native_squared")(m.attr("squared"));
}
