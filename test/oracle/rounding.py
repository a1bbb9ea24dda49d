"""Numbers that mlx-lm rounds to floats of 8 and 4 bits: what Mlx.LM.Decoder.FloatRounding is compared with.

    rounding.py FOLDER    numbers in FOLDER/NAME.safetensors: random ones, those in the middle of two, and some that have no
                          whole number of blocks
"""

import importlib
import importlib.util
import sys

import mlx.core as mx
from small_models import stand_in

# The module needs nothing of what the package itself imports.
stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)
theirs = importlib.import_module("mlx_lm.models.deepseek_v41")

MIDDLES = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -0.25, -2.5, 0.0, 448.0, 464.0, 6.5, 1e-9, -6.0]

mx.random.seed(3)
numbers = {
    "random": mx.random.normal((4, 25, 64)) * mx.power(2.0, mx.random.randint(-30, 12, (4, 25, 1))),
    "middles": mx.array([MIDDLES * 4, [6.0] + MIDDLES[:7] * 9]),
    "odd": mx.random.normal((3, 40)),
}
for name, x in numbers.items():
    rounded = {
        "eights": theirs._fake_quant_fp8(x, 32),
        "power_of_two": theirs._fake_quant_fp4(x, block_size=32),
        "e4m3": theirs._fake_quant_fp4(x, block_size=16, e4m3_scale=True),
    }
    mx.save_safetensors(f"{sys.argv[1]}/{name}.safetensors", {"x": x, **rounded})
