defmodule Mlx.LM.Families.Plamo3 do
  @moduledoc false
  # The normalisations of PLaMo 2, attention in all blocks, with a window in seven of eight and another base there. A
  # position sees the window and itself.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Plamo2, Rope}

  @impl true
  def config(fields) do
    fields =
      Enum.reduce([{"rms_norm_eps", 1.0e-6}, {"head_dim", 128}], fields, fn {key, value}, fields ->
        Fields.put_new(fields, key, value)
      end)

    eps = Fields.positive(fields, "rms_norm_eps")
    size = Fields.size(fields, "head_dim")
    window = Fields.size(fields, "sliding_window", Fields.size(fields, "window_size", 2048)) + 1
    pattern = Fields.size(fields, "sliding_window_pattern", 8)
    global = Rope.read(fields, size, base: Rope.theta(fields, 1_000_000.0), scaling: false)
    local = Rope.read(fields, size, base: Fields.positive(fields, "rope_local_theta", 10_000.0), scaling: false)

    Plain.config(
      fields,
      [
        attention: [
          joined: true,
          bias: false,
          output_bias: false,
          norm: {:rms_plus_one, eps}
        ],
        feed_forward: [joined: true, bias: false],
        block: fn layer ->
          if rem(layer + 1, pattern) == 0,
            do: [mixers: [mixer: :attention], attention: [rope: global]],
            else: [mixers: [mixer: :attention], attention: [window: window, rope: local]]
        end
      ] ++ Plamo2.norms(eps)
    )
  end

  @impl true
  defdelegate names, to: Plamo2, as: :places
end
