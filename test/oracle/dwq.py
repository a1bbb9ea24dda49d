"""mlx-lm's DWQ of small random models.

    dwq.py FOLDER    makes FOLDER/NAME for each case of CASES: model, the batches in tokens.safetensors, and result.safetensors
                     with the loss of each step, the divergence from the first batch before and after all, and the trained arrays

mlx-lm leaves out what the last token of a row foretells. Its rows have one token more than those of tokens.safetensors.
"""

import importlib
import importlib.util
import json
import pathlib
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map
from small_models import BASE, MOE, random_weight, stand_in


class Bars:
    """The progress of a loop, which nobody sees."""

    def __init__(self, over, **_options):
        self.over = over

    def __iter__(self):
        return iter(self.over)

    def set_description(self, **_options):
        pass

    @staticmethod
    def write(*_args, **_options):
        pass


# The training needs nothing of what the packages themselves import.
where = list(importlib.util.find_spec("mlx_lm").submodule_search_locations)
stand_in("tqdm", tqdm=Bars)
stand_in("mlx_lm", where)
stand_in("mlx_lm.quant", [f"{path}/quant" for path in where])
stand_in("mlx_lm.tuner", [f"{path}/tuner" for path in where])
stand_in("mlx_lm.tuner.datasets", load_dataset=None)
stand_in("mlx_lm.tuner.trainer", grad_checkpoint=None, iterate_batches=lambda batches, *_args, **_options: iter(batches))
stand_in("mlx_lm.tuner.utils", print_trainable_parameters=lambda _model: None)
names = ["load", "load_tokenizer", "maybe_set_recommended_wired_limit", "quantize_model", "save", "sharded_load"]
stand_in("mlx_lm.utils", can_run_metal=mx.metal.is_available, **dict.fromkeys(names))
dwq = importlib.import_module("mlx_lm.quant.dwq")
# What is rounded to 16 bits is computed with in 32, as Mlx does on a CPU.
dwq.tree_map = lambda change, tree: tree_map(lambda x: change(x).astype(mx.float32), tree)

STEPS, ROWS, LENGTH = 8, 2, 24

TIED = {"head_dim": 16, "tie_word_embeddings": True}

# name: (module, what is different from BASE, packing, rate, temperature, type to which all that is trained is rounded)
CASES = {
    "llama": ("llama", {}, {"group_size": 32, "bits": 3}, 1e-3, 2.0, mx.float32),
    "tied": ("qwen3", TIED, {"group_size": 64, "bits": 4}, 1e-4, 1.0, mx.float32),
    "experts": ("qwen3_moe", MOE, {"group_size": 32, "bits": 4}, 1e-4, 2.0, mx.float32),
    "half": ("llama", {}, {"group_size": 32, "bits": 3}, 1e-3, 2.0, mx.bfloat16),
}


def built(module, config):
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    return classes.Model(classes.ModelArgs.from_dict(dict(config)))


def scales(model):
    return {name: array for name, array in tree_flatten(model.parameters()) if name.endswith((".scales", ".biases"))}


def train(folder, module, different, packing, rate, temperature, dtype):
    mx.random.seed(7)
    config = {"model_type": module, **BASE, **different}
    whole, model = built(module, config), built(module, config)
    weights = tree_map(random_weight, whole.parameters())
    whole.update(weights)
    model.update(weights)
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "model" / "model.safetensors"), dict(tree_flatten(weights)))
    tokens = mx.random.randint(0, config["vocab_size"], (STEPS, ROWS, LENGTH)).astype(mx.int32)
    mx.save_safetensors(str(folder / "tokens.safetensors"), {"tokens": tokens})

    nn.quantize(model, **packing)
    start = dict(tree_flatten(model.trainable_parameters())) | scales(model)
    rows = mx.concatenate([tokens, mx.zeros((STEPS, ROWS, 1), mx.int32)], axis=-1)
    batches = [(ids, mx.array([[0, LENGTH + 1]] * ROWS)) for ids in rows]

    # Each loss is added up over the processes, and then the count of its tokens.
    added, add = [], mx.distributed.all_sum

    def noted(x, **options):
        added.append(x)
        return add(x, **options)

    mx.distributed.all_sum = noted
    dwq.dwq_quantize(
        model,
        lambda ids, _number, split: whole(ids),
        optim.Adam(learning_rate=rate, bias_correction=True),
        batches,
        batches[:1],
        ROWS,
        LENGTH + 1,
        seed=0,
        dtype=dtype,
        temperature=temperature,
    )
    mx.distributed.all_sum = add
    losses = [loss.item() for loss in added[::2]]
    assert len(losses) == STEPS + 2 and all(count.item() == ROWS * LENGTH for count in added[1::2])
    trained = dict(tree_flatten(model.trainable_parameters()))
    result = {f"end.{name}": array for name, array in trained.items()}
    result |= {f"start.{name}": start[name] for name in trained}
    result |= {"losses": mx.array(losses[1:-1]), "first": mx.array([losses[0], losses[-1]])}
    mx.save_safetensors(str(folder / "result.safetensors"), result)


for name, case in CASES.items():
    train(pathlib.Path(sys.argv[1]) / name, *case)
