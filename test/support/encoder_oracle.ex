defmodule Mlx.EncoderOracle do
  @moduledoc "The encoders of `test/oracle/encoder.py`, under the interpreter of `MLX_ORACLE_PYTHON`."

  @script Path.expand("../oracle/encoder.py", __DIR__)

  @doc "Writes a small model of a family to a folder, which is returned. `changes` are those of its `config.json`."
  def make(family, folder, changes \\ %{}) do
    python(["make", family, folder | for({key, value} <- changes, do: "#{key}=#{JSON.encode!(value)}")], "")
    folder
  end

  @doc "What it computes of sequences of tokens, lists or `{ids, types}`: `vectors` and `logits`."
  def run(folder, sequences) do
    sequences =
      for sequence <- sequences do
        {ids, types} = if is_tuple(sequence), do: sequence, else: {sequence, nil}
        %{ids: ids, types: types}
      end

    ["run", folder] |> python(JSON.encode!(%{sequences: sequences})) |> JSON.decode!()
  end

  @doc "The tokens of texts, `ids`, and the means of their vectors with the length 1, `vectors`."
  def texts(folder, texts), do: ["texts", folder] |> python(JSON.encode!(%{texts: texts})) |> JSON.decode!()

  # The input is a file, because a port cannot end its own.
  defp python(arguments, input) do
    path = Path.join(System.tmp_dir!(), "mlx_encoder_oracle_#{System.unique_integer([:positive])}.json")
    File.write!(path, input)
    command = "exec \"$@\" < \"$MLX_ORACLE_INPUT\""
    python = System.fetch_env!("MLX_ORACLE_PYTHON")

    try do
      {output, 0} =
        System.cmd("sh", ["-c", command, "sh", python, @script | arguments], env: [{"MLX_ORACLE_INPUT", path}])

      output
    after
      File.rm!(path)
    end
  end
end
