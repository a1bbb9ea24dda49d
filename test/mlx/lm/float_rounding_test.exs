defmodule Mlx.LM.FloatRoundingTest do
  # Numbers that are rounded as the classes of mlx-lm round them.
  use ExUnit.Case, async: true

  alias Mlx.LM.Decoder.FloatRounding

  @moduletag :oracle
  @moduletag :tmp_dir

  @script Path.expand("../../oracle/rounding.py", __DIR__)

  test "floats of 8 and 4 bits are those of mlx-lm", %{tmp_dir: folder} do
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, [@script, folder], stderr_to_stdout: true)
    assert status == 0, output

    for name <- ~w(random middles odd) do
      %{"x" => x} = expected = Mlx.IO.load(Path.join(folder, name <> ".safetensors"))

      ours = %{
        "eights" => FloatRounding.eights(x),
        "power_of_two" => FloatRounding.fours(x, 32, :power_of_two),
        "e4m3" => FloatRounding.fours(x, 16, :e4m3)
      }

      for {kind, array} <- ours, do: assert({kind, Mlx.to_list(array)} == {kind, Mlx.to_list(expected[kind])})
    end
  end
end
