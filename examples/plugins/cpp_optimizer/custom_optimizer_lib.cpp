// AdamW with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101) for float parameters.
//
//   p <- p - lr * weight_decay * p
//   m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
//   p <- p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//
// #include <torch/extension.h> would do in place of these four, and takes four times as long to compile.
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/optim/optimizer.h>

#include <cmath>
#include <utility>
#include <vector>

namespace py = pybind11;

struct CustomAdamWOptions : torch::optim::OptimizerCloneableOptions<CustomAdamWOptions> {};

class CustomAdamW : public torch::optim::Optimizer {
 public:
  CustomAdamW(std::vector<torch::Tensor> params, double lr, double weight_decay)
      : Optimizer(params, std::make_unique<CustomAdamWOptions>()),
        params_(std::move(params)),
        lr_(lr),
        weight_decay_(weight_decay) {
    TORCH_CHECK(lr >= 0, "lr has to be 0 or more, not ", lr);
    for (const auto& p : params_) moments_.emplace_back(at::zeros_like(p), at::zeros_like(p));
  }

  torch::Tensor step(LossClosure closure = nullptr) override {
    torch::Tensor loss;
    if (closure) {
      c10::AutoGradMode grad(true);
      loss = closure();
    }
    c10::NoGradGuard no_grad;
    ++steps_;
    for (size_t i = 0; i < params_.size(); ++i) {
      if (params_[i].grad().defined()) update(params_[i], moments_[i].first, moments_[i].second);
    }
    return loss;
  }

 private:
  void update(torch::Tensor& p, torch::Tensor& m, torch::Tensor& v) const {
    const auto& g = p.grad();
    const double correction1 = 1 - std::pow(kBeta1, steps_);
    const double correction2 = 1 - std::pow(kBeta2, steps_);
    p.mul_(1 - lr_ * weight_decay_);
    m.lerp_(g, 1 - kBeta1);
    v.mul_(kBeta2).addcmul_(g, g, 1 - kBeta2);
    p.addcdiv_(m, v.sqrt().div_(std::sqrt(correction2)).add_(kEps), -lr_ / correction1);
  }

  static constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
  std::vector<torch::Tensor> params_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> moments_;
  double lr_, weight_decay_;
  int64_t steps_ = 0;
};

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  py::class_<CustomAdamW>(m, "CustomAdamW")
      .def(py::init<std::vector<torch::Tensor>, double, double>(), py::arg("params"),
           py::arg("lr"), py::arg("weight_decay"))
      .def("step", [](CustomAdamW& self) { self.step(); });
}
