defmodule Mlx.LM.Names do
  @moduledoc false
  # What tensors of files are called in a decoder.

  # Parts of models for pictures and sounds, and tables that are computed here.
  @dropped ~w(vision_tower vision_model vision_encoder visual multi_modal_projector mm_projector patch_merger
              image_newline audio_tower embed_audio embed_vision rotary_emb.inv_freq attention.rope.inv_freq
              self_attn.masked_bias)

  @prefixes [
    {"model.language_model.model.", "model."},
    {"language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.lm_head.", "lm_head."},
    {"language_model.", ""}
  ]

  @doc "The name in a decoder, or nil for a tensor that it does not have."
  @spec ours(String.t(), [{String.t(), String.t()}]) :: String.t() | nil
  def ours(name, names) do
    if not Enum.any?(@dropped, &inside?(name, &1)) do
      name |> without_prefix() |> String.split(".") |> replaced(split(names)) |> Enum.join(".")
    end
  end

  @doc """
  The name that `mlx-lm` has for a name in a decoder: of several that mean the same, the first. `body` stands in place of
  `model.`, and `head` in front of all others.
  """
  @spec theirs(String.t(), [{String.t(), String.t()}], {head :: String.t(), body :: String.t()}) :: String.t()
  def theirs(name, names, {head, body}) do
    back = for {theirs, ours} <- names, do: {ours, theirs}

    case name |> String.split(".") |> replaced(split(back)) |> Enum.join(".") do
      "model." <> rest -> body <> rest
      other -> head <> other
    end
  end

  defp inside?(name, part), do: String.contains?("." <> name <> ".", "." <> part <> ".")

  defp without_prefix(name) do
    Enum.find_value(@prefixes, name, fn {prefix, ours} ->
      if String.starts_with?(name, prefix), do: String.replace_prefix(name, prefix, ours)
    end)
  end

  # Those of most parts come first.
  defp split(names) do
    Enum.sort_by(for({theirs, ours} <- names, do: {String.split(theirs, "."), ours}), fn {theirs, _} ->
      -length(theirs)
    end)
  end

  defp replaced([], _names), do: []

  defp replaced([part | rest] = parts, names) do
    case Enum.find(names, fn {theirs, _ours} -> List.starts_with?(parts, theirs) end) do
      {theirs, ours} -> [ours | parts |> Enum.drop(length(theirs)) |> replaced(names)]
      nil -> [part | replaced(rest, names)]
    end
  end
end
