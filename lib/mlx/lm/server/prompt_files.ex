defmodule Mlx.LM.Server.PromptFiles do
  @moduledoc false
  # What is kept of prompts, in a folder: a file of `Mlx.LM.Context.save/3` for each, whose name is made of its tokens.

  alias Mlx.LM.{Cache, Context, Decoder}

  @doc "The contexts in a folder for a model. Raises `Mlx.Error` for a file that is none, or of another model."
  @spec load(Path.t(), Decoder.t()) :: [Context.t()]
  def load(folder, model) do
    for path <- folder |> Path.join("*.safetensors") |> Path.wildcard() |> Enum.sort(), do: Context.load(path, model)
  end

  @doc "Writes prompts, tokens and caches, to a folder. Returns how many, or what went wrong."
  @spec save([{[non_neg_integer()], [Cache.t()]}], Path.t(), Decoder.t()) ::
          {:ok, non_neg_integer()} | {:error, String.t()}
  def save(prompts, folder, model) do
    with :ok <- File.mkdir_p(folder) do
      for {ids, caches} <- prompts do
        Context.save(%Context{ids: ids, caches: caches}, model, Path.join(folder, name(ids)))
      end

      {:ok, length(prompts)}
    else
      {:error, reason} -> {:error, "the folder #{folder} cannot be made: #{:file.format_error(reason)}"}
    end
  rescue
    error in Mlx.Error -> {:error, Exception.message(error)}
  end

  defp name(ids) do
    hash = :crypto.hash(:sha256, for(id <- ids, into: <<>>, do: <<id::32>>))
    Base.encode16(hash, case: :lower) <> ".safetensors"
  end
end
