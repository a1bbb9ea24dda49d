"""mlx-lm's trainings of small random models, and what it computes with adapters and models that Mlx has written.

    tuning.py train FOLDER     makes FOLDER/NAME for each case of CASES: model, the adapter that the training begins with in start,
                               batches.safetensors, and result.safetensors with the losses and the trained arrays
    tuning.py same FOLDER      the training of the model in FOLDER/model from the adapter in FOLDER/start with the batches of
                               FOLDER/batches.safetensors, which writes FOLDER/result.safetensors; Adam with a rate of 1e-4
    tuning.py load FOLDER      for each case: logits.safetensors, what mlx-lm computes with the adapter in FOLDER/NAME/adapter and
                               with the model in FOLDER/NAME/fused, where they are
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


class Silent:
    """The progress of a training, which nobody sees."""

    def __init__(self, *_args, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def __getattr__(self, _name):
        return lambda *_args, **_options: Silent()

    def __call__(self, *_args, **_options):
        return Silent()


# The trainer needs nothing of what the packages themselves import.
where = list(importlib.util.find_spec("mlx_lm").submodule_search_locations)
stand_in("transformers", PreTrainedTokenizer=object)
stand_in("mlx_lm", where)
stand_in("mlx_lm.tuner", [f"{path}/tuner" for path in where])
stand_in("mlx_lm.utils", get_total_parameters=None, maybe_set_recommended_wired_limit=lambda: None)
stand_in("mlx_lm.cli_ui", rprint=print, TrainUI=Silent)
tuner = importlib.import_module("mlx_lm.tuner.utils")
trainer = importlib.import_module("mlx_lm.tuner.trainer")

ROWS, STEPS, VALIDATIONS, RANK = 4, 8, 2, 4

TIED = {"head_dim": 16, "tie_word_embeddings": True}
MAMBA = {
    "state_size": 16,
    "conv_kernel": 4,
    "num_hidden_layers": 2,
    "expand": 2,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_rank": 4,
}
ATTENTION = ["self_attn.q_proj", "self_attn.v_proj"]
Q4 = {"group_size": 32, "bits": 4}

# name: (module, what is different from BASE, kind, blocks, keys, packing, settings of the training)
CASES = {
    "lora": ("llama", {}, "lora", 2, None, None, {}),
    "lora-keys": ("llama", {"attention_bias": True}, "lora", 3, ATTENTION + ["lm_head"], None, {"optimizer": "adamw"}),
    "lora-embedding": ("qwen3", TIED, "lora", 1, ATTENTION + ["model.embed_tokens"], None, {"optimizer": "sgd", "rate": 0.1}),
    "lora-experts": ("qwen3_moe", MOE, "lora", 2, None, None, {}),
    "lora-mamba": ("mamba", MAMBA, "lora", 2, None, None, {}),
    "lora-accumulated": ("llama", {}, "lora", 3, ATTENTION, None, {"accumulate": 2}),
    "qlora": ("llama", {}, "lora", 3, None, Q4, {}),
    "qlora-embedding": ("qwen3", TIED, "lora", 1, ATTENTION + ["model.embed_tokens"], {"group_size": 64, "bits": 8}, {}),
    "qlora-experts": ("qwen3_moe", MOE, "lora", 3, None, Q4, {}),
    "qlora-mxfp4": ("llama", {}, "lora", 3, None, {"group_size": 32, "bits": 4, "mode": "mxfp4"}, {}),
    "qlora-mxfp8": ("llama", {}, "lora", 3, None, {"group_size": 32, "bits": 8, "mode": "mxfp8"}, {}),
    "qlora-nvfp4": ("llama", {}, "lora", 3, None, {"group_size": 16, "bits": 4, "mode": "nvfp4"}, {}),
    "dora": ("llama", {"mlp_bias": True}, "dora", 3, None, None, {}),
    "dora-embedding": ("qwen3", TIED, "dora", 1, ATTENTION + ["model.embed_tokens"], None, {}),
    "qdora": ("llama", {}, "dora", 2, None, Q4, {}),
    "full": ("llama", {}, "full", 2, None, None, {}),
    "full-experts": ("qwen3_moe", MOE, "full", 3, None, None, {"optimizer": "adafactor"}),
    "schedule": ("llama", {}, "lora", 3, ATTENTION, None, {"schedule": {"name": "cosine_decay", "arguments": [2e-3, 6], "warmup": 3}}),
}

OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD, "adafactor": optim.Adafactor}


def built(module, config):
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    return classes.Model(classes.ModelArgs.from_dict(dict(config)))


def packed(model, packing, weights=None):
    def wanted(path, layer):
        if weights is not None:
            return f"{path}.scales" in weights
        return hasattr(layer, "to_quantized") and layer.weight.shape[-1] % 64 == 0

    nn.quantize(model, class_predicate=wanted, **packing)


def loaded(folder):
    """The model of a folder, as mlx_lm.load has it."""
    config = json.loads((folder / "config.json").read_text())
    model = built(config["model_type"], config)
    weights = mx.load(str(folder / "model.safetensors"))
    if "quantization" in config:
        packed(model, {k: config["quantization"][k] for k in ["group_size", "bits", "mode"] if k in config["quantization"]}, weights)
    model.load_weights(list(weights.items()), strict=True)
    return model


def batches(count, vocabulary):
    """Random rows of several lengths, with zeros behind them, and where what counts begins and ends."""
    made = []
    for number in range(count):
        length = 17 + 8 * (number % 3)
        ends = mx.random.randint(8, length, (ROWS,))
        starts = mx.where(mx.arange(ROWS) % 2 == 0, mx.zeros(ROWS, mx.int32), mx.random.randint(0, 6, (ROWS,)))
        ids = mx.random.randint(0, vocabulary, (ROWS, length))
        ids = mx.where(mx.arange(length)[None] < ends[:, None], ids, 0)
        made.append((ids.astype(mx.int32), mx.stack([starts, ends], axis=1).astype(mx.int32)))
    return made


class Set(list):
    """What the trainer takes for a set of texts."""


def train(folder, module, different, kind, blocks, keys, packing, settings):
    mx.random.seed(5)
    config = {"model_type": module, **BASE, **different}
    model = built(module, config)
    model.update(tree_map(random_weight, model.parameters()))
    if packing:
        packed(model, packing)
        config["quantization"] = packing
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "model" / "model.safetensors"), dict(tree_flatten(model.parameters())))
    model.freeze()
    parameters = {"rank": RANK, "scale": 2.0, "dropout": 0.0, "keys": keys}
    if kind == "full":
        parameters = None
        for block in model.layers[-blocks:]:
            block.unfreeze()
    else:
        tuner.linear_to_lora_layers(model, blocks, parameters, use_dora=kind == "dora")
    start = {name: mx.array(array) for name, array in tree_flatten(model.trainable_parameters())}
    (folder / "start").mkdir()
    mx.save_safetensors(str(folder / "start" / "adapters.safetensors"), start)
    adapter = {"fine_tune_type": kind, "num_layers": blocks, "lora_parameters": parameters}
    (folder / "start" / "adapter_config.json").write_text(json.dumps(adapter))

    made = {"train": batches(STEPS, 128), "validation": batches(VALIDATIONS, 128)}
    tensors = {}
    for name, several in made.items():
        for number, (ids, lengths) in enumerate(several):
            tensors[f"{name}.{number}.ids"] = ids
            tensors[f"{name}.{number}.lengths"] = lengths
    mx.save_safetensors(str(folder / "batches.safetensors"), tensors)

    losses, validations = [], []

    class Callback:
        def on_train_loss_report(self, info):
            losses.append(info["train_loss"])

        def on_val_loss_report(self, info):
            validations.append(info["val_loss"])

    accumulate = settings.get("accumulate", 1)
    rate = settings.get("rate", 1e-3)
    schedule = settings.get("schedule")
    optimizer = OPTIMIZERS[settings.get("optimizer", "adam")](learning_rate=tuner.build_schedule(schedule) if schedule else rate)
    trainer.train(
        model=model,
        optimizer=optimizer,
        train_dataset=Set(made["train"]),
        val_dataset=Set(made["validation"] * ROWS),
        args=trainer.TrainingArgs(
            batch_size=ROWS,
            iters=STEPS,
            val_batches=VALIDATIONS,
            steps_per_report=1,
            steps_per_eval=1,
            steps_per_save=10 * STEPS,
            adapter_file=str(folder / "adapters.safetensors"),
            grad_accumulation_steps=accumulate,
        ),
        iterate_batches=lambda dataset, **_options: iter(dataset),
        training_callback=Callback(),
    )
    result = {name: array for name, array in tree_flatten(model.trainable_parameters())}
    result["losses"] = mx.array(losses)
    result["validations"] = mx.array(validations)
    mx.save_safetensors(str(folder / "result.safetensors"), result)


def load(folder):
    ids = mx.load(str(folder / "batches.safetensors"))["validation.0.ids"]
    logits = {}
    if (folder / "adapter").exists():
        model = loaded(folder / "model")
        tuner.load_adapters(model, str(folder / "adapter"))
        model.eval()
        logits["adapter"] = model(ids)
    if (folder / "fused").exists():
        logits["fused"] = loaded(folder / "fused")(ids)
    mx.save_safetensors(str(folder / "logits.safetensors"), logits)


def same(folder):
    model = loaded(folder / "model")
    config = json.loads((folder / "start" / "adapter_config.json").read_text())
    model.freeze()
    tuner.linear_to_lora_layers(model, config["num_layers"], config["lora_parameters"])
    model.load_weights(str(folder / "start" / "adapters.safetensors"), strict=False)
    tensors = mx.load(str(folder / "batches.safetensors"))
    several = [(tensors[f"{n}.ids"], tensors[f"{n}.lengths"]) for n in range(len(tensors) // 2)]
    losses = []

    class Callback:
        def on_train_loss_report(self, info):
            losses.append(info["train_loss"])

    trainer.train(
        model=model,
        optimizer=optim.Adam(learning_rate=1e-4),
        train_dataset=Set(several),
        args=trainer.TrainingArgs(
            batch_size=several[0][0].shape[0], iters=len(several), steps_per_report=1, adapter_file=str(folder / "trained.safetensors")
        ),
        iterate_batches=lambda dataset, **_options: iter(dataset),
        training_callback=Callback(),
    )
    loss, _tokens = trainer.default_loss(model, *several[0])
    mx.save_safetensors(str(folder / "result.safetensors"), {"losses": mx.array(losses), "validation": loss})


root = pathlib.Path(sys.argv[2])
if sys.argv[1] == "same":
    same(root)
    sys.exit()
for name, case in CASES.items():
    train(root / name, *case) if sys.argv[1] == "train" else load(root / name)
