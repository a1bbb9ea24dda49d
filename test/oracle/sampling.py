"""The samplers of mlx-lm on logits, for the tests that compare with them."""

import functools
import importlib.util
import pathlib

import mlx.core as mx
from layers import as_written


@functools.cache
def library():
    """mlx-lm's file of samplers alone: the whole package imports others, which samplers do without."""
    folder = importlib.util.find_spec("mlx_lm").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("sample_utils", pathlib.Path(folder) / "sample_utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@as_written
def filtered(logprobs, top_p=0.0, min_p=0.0, min_tokens_to_keep=1, xtc=None, top_k=0):
    """What the chain of `make_sampler` leaves of log-probabilities. `xtc` is (probability, threshold, special tokens)."""
    if 0 < top_p < 1.0:
        logprobs = library().apply_top_p(logprobs, top_p)
    if min_p != 0.0:
        logprobs = library().apply_min_p(logprobs, min_p, min_tokens_to_keep)
    if xtc is not None:
        logprobs = library().apply_xtc(logprobs, *xtc)
    if top_k > 0:
        logprobs = library().apply_top_k(logprobs, top_k)
    return logprobs


@as_written
def probabilities(logprobs, temperature, **options):
    """The probabilities of what `make_sampler` draws."""
    return mx.softmax(filtered(logprobs, **options) * (1 / temperature), axis=-1)


@as_written
def processed(tokens, logits, **options):
    """Logits after the processors of `make_logits_processors`."""
    for processor in library().make_logits_processors(**options):
        logits = processor(tokens, logits)
    return logits
