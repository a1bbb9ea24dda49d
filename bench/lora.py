"""The Python side of bench/lora and bench/lora_losses: for each line that it reads, some steps of mlx-lm's trainer.

It answers with their seconds, those of the processor, the most memory, their losses, and, where texts are validated, the loss of
these after them. The adapter is saved at the end.
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

MODEL, START, END, DATA = map(pathlib.Path, sys.argv[1:5])
STEPS, TURN, SIZE, LENGTH, VALIDATE = map(int, sys.argv[5:10])
RATE = float(sys.argv[10])

# What the trainer shows goes elsewhere.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

model, tokenizer = load(str(MODEL))
settings = (START / "adapter_config.json").read_text()
config = json.loads(settings)
model.freeze()
linear_to_lora_layers(model, config["num_layers"], config["lora_parameters"])
model.load_weights(str(START / "adapters.safetensors"), strict=False)
END.mkdir()
(END / "adapter_config.json").write_text(settings)


def texts(name):
    lines = [json.loads(line) for line in open(DATA / f"{name}.jsonl")]
    data = CompletionsDataset(lines, tokenizer, "prompt", "completion", True)
    return [data.process(line) for line in lines]


def in_order(dataset, **options):
    """The trainer's batches in the order of the file."""
    for start in range(0, len(dataset) - SIZE + 1, SIZE):
        yield from trainer.iterate_batches(dataset[start : start + SIZE], SIZE, LENGTH)


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


validation = texts("valid")[:VALIDATE]


class Answers(TrainingCallback):
    seconds, processor, losses = 0.0, 0.0, []

    def on_train_loss_report(self, info):
        self.seconds += 1 / info["iterations_per_second"]
        self.losses = self.losses + [info["train_loss"]]
        if info["iteration"] % TURN == 0:
            answer = [self.seconds, time.process_time() - self.processor, float(mx.get_peak_memory()), *self.losses]
            if validation:
                answer.append(trainer.evaluate(model, validation, SIZE, -1, iterate_batches=in_order))
                model.train()
            print(*answer, file=answers, flush=True)
            self.seconds, self.losses = 0.0, []


callback = Answers()
trainer.train(
    model=model,
    optimizer=optim.Adam(learning_rate=RATE),
    train_dataset=texts("train"),
    args=trainer.TrainingArgs(
        batch_size=SIZE,
        iters=STEPS,
        max_seq_length=LENGTH,
        steps_per_report=1,
        steps_per_save=10 * STEPS,
        adapter_file=str(END / "adapters.safetensors"),
    ),
    iterate_batches=batches,
    training_callback=callback,
)
