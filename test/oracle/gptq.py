"""GPTQ of a matrix in numpy and float64, by the paper's formulas, without its blocks: all later columns change at once.

    gptq.py FOLDER

reads in.safetensors (matrix, gram, and scales and biases for groups as they come from MLX at each group) and writes
out.safetensors with codes, scales and biases for each of the settings.
"""

import sys

import mlx.core as mx
import numpy as np

folder = sys.argv[1]
arrays = mx.load(f"{folder}/in.safetensors")
matrix = np.array(arrays["matrix"], dtype=np.float64)
gram = np.array(arrays["gram"], dtype=np.float64)

inverse = np.linalg.inv(gram + 0.01 * np.mean(np.diag(gram)) * np.eye(len(gram)))
out = {}
for bits in (2, 3, 4):
    for size in (32, 64):
        left, h = matrix.copy(), inverse.copy()
        codes, all_scales, all_biases = np.zeros_like(matrix), [], []
        for column in range(matrix.shape[1]):
            if column % size == 0:
                group = mx.array(left[:, column : column + size].astype(np.float32))
                _, scales, biases = mx.quantize(group, group_size=size, bits=bits)
                scales, biases = np.array(scales)[:, 0], np.array(biases)[:, 0]
                all_scales.append(scales)
                all_biases.append(biases)
            code = np.clip(np.round((left[:, column] - biases) / scales), 0, 2**bits - 1)
            codes[:, column] = code
            error = (left[:, column] - (code * scales + biases)) / h[column, column]
            left -= np.outer(error, h[column])
            # The inverse without the row and column that are done.
            h -= np.outer(h[:, column], h[column]) / h[column, column]
        for name, value in (
            ("codes", codes),
            ("scales", np.stack(all_scales, axis=1)),
            ("biases", np.stack(all_biases, axis=1)),
        ):
            out[f"{bits}.{size}.{name}"] = mx.array(value.astype(np.float32))
mx.save_safetensors(f"{folder}/out.safetensors", out)
