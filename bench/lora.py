"""The Python side of bench/lora: for each line that it reads, some steps of mlx-lm's trainer.

It answers with their seconds, those of the processor, the most memory, their losses, and the loss of the validation after them.
"""

import json
import os
import pathlib
import sys
import time

import mlx.core as mx
import mlx.optimizers as optim
from mlx_lm.tuner import trainer
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.datasets import CompletionsDataset
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load

MODEL, START, DATA = sys.argv[1:4]
STEPS, TURN, SIZE = map(int, sys.argv[4:7])
RATE = float(sys.argv[7])

# What the trainer shows goes elsewhere.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

model, tokenizer = load(MODEL)
config = json.loads((pathlib.Path(START) / "adapter_config.json").read_text())
model.freeze()
linear_to_lora_layers(model, config["num_layers"], config["lora_parameters"])
model.load_weights(str(pathlib.Path(START) / "adapters.safetensors"), strict=False)


def texts(name):
    lines = [json.loads(line) for line in open(pathlib.Path(DATA) / f"{name}.jsonl")]
    data = CompletionsDataset(lines, tokenizer, "prompt", "completion", True)
    return [data.process(line) for line in lines]


def in_order(dataset, **options):
    """The trainer's batches in the order of the file."""
    for start in range(0, len(dataset) - SIZE + 1, SIZE):
        yield from trainer.iterate_batches(dataset[start : start + SIZE], SIZE, 2048)


def batches(dataset, **options):
    step = 0
    while True:
        for batch in in_order(dataset):
            if step % TURN == 0:
                if not sys.stdin.readline():
                    sys.exit()
                mx.reset_peak_memory()
                callback.processor = time.process_time()
            step += 1
            yield batch


validation = texts("valid")


class Answers(TrainingCallback):
    seconds, processor, losses = 0.0, 0.0, []

    def on_train_loss_report(self, info):
        self.seconds += 1 / info["iterations_per_second"]
        self.losses = self.losses + [info["train_loss"]]
        if info["iteration"] % TURN == 0:
            processor, peak = time.process_time() - self.processor, mx.get_peak_memory()
            loss = trainer.evaluate(model, validation, SIZE, -1, iterate_batches=in_order)
            model.train()
            print(self.seconds, processor, float(peak), *self.losses, loss, file=answers, flush=True)
            self.seconds, self.losses = 0.0, []


callback = Answers()
trainer.train(
    model=model,
    optimizer=optim.Adam(learning_rate=RATE),
    train_dataset=texts("train"),
    args=trainer.TrainingArgs(batch_size=SIZE, iters=STEPS, steps_per_report=1, steps_per_save=10 * STEPS, adapter_file=f"{START}/trained.safetensors"),
    iterate_batches=batches,
    training_callback=callback,
)
