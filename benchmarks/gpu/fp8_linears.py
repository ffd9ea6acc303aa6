"""The linear layers of a block in fp8, rows of activations rounded at each call: ours against bfloat16, and torchao's
against bfloat16 where it is installed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch

from magref.fp8 import Fp8Linear
from measuring import Bench, main
from models import filled, sizes

SHAPES = {"q, k, v, out": (5120, 5120), "first of the FFN": (5120, 13824), "second of the FFN": (13824, 5120)}


@torch.no_grad()
def work(bench: Bench) -> None:
    tokens = sizes(bench.tiny).tokens
    for name, (inner, outer) in SHAPES.items():
        shape = (inner // 160, outer // 160) if bench.tiny else (inner, outer)
        linear = torch.nn.Linear(*shape, device=bench.device, dtype=bench.dtype)
        filled(linear)
        x = torch.randn(1, tokens, shape[0], device=bench.device).to(bench.dtype)
        flops = 2 * tokens * shape[0] * shape[1]

        def rate(seconds: float, flops: int = flops) -> dict[str, float | str]:
            return {"TFLOP/s": flops / seconds / 1e12}

        bf16 = ("bfloat16", partial(linear, x))
        bench.alone(name, bf16, repeats=5, work=rate)
        sides: list[tuple[str, Callable[[], torch.nn.Module]]] = [("fp8, ours", partial(Fp8Linear, linear))]
        if find_spec("torchao") is not None and bench.device.type == "cuda":
            sides.append(("fp8, torchao", partial(of_torchao, linear)))
        for side, make in sides:
            small = make()
            bench.compare(name, (side, partial(small, x)), bf16, repeats=5, work=rate, most_difference=0.1)


def of_torchao(linear: torch.nn.Module) -> torch.nn.Module:
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    wrapped = torch.nn.Sequential(copy.deepcopy(linear))
    quantize_(wrapped, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()))
    return wrapped


if __name__ == "__main__":
    main("fp8", __doc__, work)
