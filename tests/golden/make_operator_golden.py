"""Makes operators.json beside this file: what PyTorch computes, in float64, with the operators that lockstep's are said
to be the same as.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy
    /tmp/venv/bin/python tests/golden/make_operator_golden.py

tests/tensor/test_operators_golden.c holds lockstep's operators against it: values, and the gradients of the sum of the
result times fixed weights (result_weight there). Grids are stored channels last.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)


def numbers(*shape, low=-1.0, high=1.0):
    return (low + (high - low) * torch.rand(shape)).float().double()


def result_weight(count):
    return torch.tensor([((i * 37 + 11) % 64 * 2 - 63) / 64 for i in range(count)])


def flat(x):
    return {"shape": list(x.shape), "data": ["nan" if v != v else v for v in x.detach().flatten().tolist()]}


cases = []


def case(name, function, *inputs, gradients=True, **arguments):
    inputs = [x.clone().requires_grad_(gradients) for x in inputs]
    value = function(*inputs)
    row = {"name": name, "inputs": [flat(x) for x in inputs], "value": flat(value), **arguments}
    if gradients:
        (value.flatten() * result_weight(value.numel())).sum().backward()
        row["gradients"] = [flat(x.grad) for x in inputs]
    cases.append(row)


# losses
x, t = numbers(4, 6, low=-3, high=3), numbers(4, 6, low=0, high=1)
rows = torch.tensor([0.5, 0.0, 1.25, 2.0])
classes = torch.tensor([0.5, 1.0, 2.0, 0.25, 4.0, 1.5])
case("mse_sum", lambda a, b: F.mse_loss(a, b, reduction="sum"), x, t)
case("mse_sum", lambda a, b: (F.mse_loss(a, b, reduction="none") * rows[:, None]).sum(), x, t, weights=rows.tolist())
case("bce_with_logits_sum", lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="sum"), x, t)
case("bce_with_logits_sum",
     lambda a, b: F.binary_cross_entropy_with_logits(a, b, weight=rows[:, None], pos_weight=classes, reduction="sum"), x, t,
     weights=rows.tolist(), pos_weights=classes.tolist())
case("kl_sum", lambda a, b: F.kl_div(a, b, reduction="sum", log_target=True), numbers(3, 5, low=-4, high=0), numbers(3, 5, low=-4, high=0))
targets = F.softmax(numbers(4, 6), -1).float().double()
case("soft_cross_entropy_sum", lambda a, b: F.cross_entropy(a, b, reduction="sum"), x, targets, smoothing=0.0)
case("soft_cross_entropy_sum", lambda a, b: F.cross_entropy(a, b, reduction="sum", label_smoothing=0.125), x, targets, smoothing=0.125)
case("kl_of_logits_sum",
     lambda a, b: F.kl_div(F.log_softmax(a, -1), F.log_softmax(b, -1), reduction="sum", log_target=True), x, numbers(4, 6, low=-2, high=2))

# similarity; below eps PyTorch's gradient is not the derivative of its value (tensor/ops/similarity.c)
case("cosine_similarity", lambda a, b: F.cosine_similarity(a, b, dim=-1), numbers(3, 5), numbers(3, 5), eps=1e-8)
small = numbers(3, 5)
small[1] *= 1e-9
small[2] = 0
case("cosine_similarity", lambda a, b: F.cosine_similarity(a, b, dim=-1, eps=1e-6), small, numbers(3, 5), gradients=False, eps=1e-6)

# orders and sums
ties = torch.tensor([[2.0, -0.0, 1.0, 0.0, 2.0, -3.0, 0.0, 1.0], [1.0, float("nan"), float("inf"), 1.0, -float("inf"), 5.0, float("nan"), -1.0]])
ties = torch.where(torch.isinf(ties), ties.sign() * 1e300, ties)  # JSON has no infinity
for descending in (False, True):
    case("sort", lambda a: torch.sort(a, stable=True, descending=descending)[0], numbers(3, 60), descending=descending)
    case("sort", lambda a: torch.sort(a, stable=True, descending=descending)[0], ties, gradients=False, descending=descending,
         index=torch.sort(ties, stable=True, descending=descending)[1].flatten().tolist())
case("top_k", lambda a: torch.topk(a, 3)[0], numbers(4, 11), k=3)
case("cumulative_sum", lambda a: torch.cumsum(a, 1), numbers(2, 7, 3), axis=1)
case("cumulative_sum", lambda a: torch.cumsum(a, -1), numbers(2, 9), axis=-1)
ids = torch.tensor([2, 0, 2, 3, 0, 2, 3])
for name, reduce in (("segment_sum", "sum"), ("segment_mean", "mean")):
    case(name, lambda a: torch.zeros(5, 3).scatter_reduce(0, ids[:, None].expand(7, 3), a, reduce, include_self=False), numbers(7, 3), index=ids.tolist(), segments=5)


# grids, channels last
def interpolate(size, mode, corners=None):
    def f(a):
        axes = a.dim() - 2
        first = F.interpolate(a.permute(0, axes + 1, *range(1, axes + 1)), size=size, mode=mode, align_corners=corners)
        return first.permute(0, *range(2, axes + 2), 1)
    return f


grids = [((2, 3, 4, 3), (6, 8), "bilinear"), ((1, 3, 5, 2), (7, 4), "bilinear"), ((1, 7, 5, 2), (3, 11), "bilinear"), ((1, 3, 2, 2), (1, 1), "bilinear"),
         ((2, 5, 2), (8,), "linear"), ((1, 2, 3, 2, 2), (3, 4, 5), "trilinear")]
for shape, size, mode in grids:
    case("upsampling", interpolate(size, "nearest"), numbers(*shape), kind=0, size=list(size))
    for kind, corners in ((1, False), (2, True)):
        case("upsampling", interpolate(size, mode, corners), numbers(*shape), kind=kind, size=list(size))
case("upsampling", interpolate((82, 2), "nearest"), numbers(1, 2, 3, 2), kind=0, size=[82, 2])  # where its rounding in f32 shows

path = pathlib.Path(__file__).parent / "operators.json"
path.write_text("[\n" + ",\n".join(json.dumps(row) for row in cases) + "\n]\n")
print(path, len(cases), "cases", path.stat().st_size, "bytes; torch", torch.__version__)
