defmodule Mlx.LM.Quantization.Recipe do
  @moduledoc false
  # Which layers of a decoder are quantized how, by the options of `Mlx.LM.convert/3`.
  #
  # The mixed recipes give more bits to the matrices that a model feels most: the values and the last matrix of the
  # feed-forward layers in the first and last eighth of the blocks and in every third one between, and the output.

  alias Mlx.Arguments.{Given, Options}

  @modes [affine: {64, 4}, mxfp4: {32, 4}, mxfp8: {32, 8}, nvfp4: {16, 4}]
  @recipes [mixed_2_6: {2, 6}, mixed_3_4: {3, 4}, mixed_3_6: {3, 6}, mixed_4_6: {4, 6}]
  @bits [2, 3, 4, 5, 6, 8]
  @group_sizes [32, 64, 128]

  @options [bits: nil, group_size: nil, mode: :affine, recipe: nil, where: nil]

  @values ["v_proj", "v_a_proj", "v_b_proj"]

  @enforce_keys [:settings, :bits, :where]
  defstruct @enforce_keys

  @typep settings :: [group_size: pos_integer(), bits: pos_integer(), mode: atom()]

  @type t :: %__MODULE__{
          settings: settings(),
          bits: {pos_integer(), pos_integer()} | nil,
          where: (String.t(), struct() -> boolean() | keyword()) | nil
        }

  @doc "The names of the modes."
  @spec modes() :: [atom()]
  def modes, do: Keyword.keys(@modes)

  @doc "The names of the mixed recipes."
  @spec names() :: [atom()]
  def names, do: Keyword.keys(@recipes)

  @doc "The recipe of options, or an `ArgumentError` without the name of a function."
  @spec new(keyword(), atom()) :: t()
  def new(options, function) do
    options = Options.complete(options, function, @options)
    recipe = options[:recipe]
    settings = settings!(Keyword.take(options, [:bits, :group_size, :mode]))

    if recipe != nil and not (is_atom(recipe) and Keyword.has_key?(@recipes, recipe)),
      do: wrong!(":recipe", "one of #{inspect(names())}, or nil", recipe)

    if recipe != nil and (settings[:mode] != :affine or options[:bits] != nil or options[:where] != nil) do
      raise ArgumentError,
            "a :recipe chooses the bits of each layer in the mode :affine; leave out :bits, :mode and :where"
    end

    where = options[:where]
    if where != nil and not is_function(where, 2), do: wrong!(":where", "a function of a path and a layer", where)
    %__MODULE__{settings: settings, bits: @recipes[recipe], where: where}
  end

  @doc "Settings with the defaults of their mode, or an `ArgumentError` without the name of a function."
  @spec settings!(keyword()) :: settings()
  def settings!(options) do
    mode = options[:mode] || :affine

    if not (is_atom(mode) and Keyword.has_key?(@modes, mode)),
      do: wrong!(":mode", "one of #{inspect(modes())}", mode)

    {group_size, bits} = @modes[mode]
    {sizes, allowed} = if mode == :affine, do: {@group_sizes, @bits}, else: {[group_size], [bits]}
    settings = [group_size: options[:group_size] || group_size, bits: options[:bits] || bits, mode: mode]
    of_mode = " in the mode #{inspect(mode)}"
    if settings[:bits] not in allowed, do: wrong!(":bits", one_of(allowed) <> of_mode, settings[:bits])
    if settings[:group_size] not in sizes, do: wrong!(":group_size", one_of(sizes) <> of_mode, settings[:group_size])
    settings
  end

  defp one_of([only]), do: "#{only}"
  defp one_of(several), do: "one of #{Enum.join(several, ", ")}"

  defp wrong!(option, expected, given) do
    raise ArgumentError, "expected #{option} to be #{expected}, got: #{Given.text(given)}"
  end

  @doc """
  How a layer is quantized: its settings, or false. `path` is its name in the file, `own` what its family says of it, and
  `blocks` the number of blocks.
  """
  @spec packing(t(), String.t(), struct(), boolean() | keyword(), pos_integer()) :: settings() | false
  def packing(%__MODULE__{settings: settings} = recipe, path, layer, own, blocks) do
    columns = layer.weight.shape |> Tuple.to_list() |> List.last()

    # What a family never quantizes has no place for it.
    if own == false or rem(columns, settings[:group_size]) != 0,
      do: false,
      else: recipe |> wanted(path, layer, own, blocks) |> settled(settings)
  end

  defp wanted(%__MODULE__{where: where}, path, layer, _own, _blocks) when where != nil, do: where.(path, layer)
  defp wanted(%__MODULE__{bits: nil}, _path, _layer, own, _blocks), do: own

  defp wanted(%__MODULE__{bits: {low, high}, settings: settings}, path, _layer, _own, blocks) do
    felt = Enum.any?(["down_proj" | @values], &String.contains?(path, &1)) and more?(block(path), blocks)
    bits = if felt or String.contains?(path, "lm_head"), do: high, else: low
    Keyword.put(settings, :bits, bits)
  end

  defp block(path) do
    case Regex.run(~r/\.(\d+)\./, path) do
      [_all, number] -> String.to_integer(number)
      nil -> 0
    end
  end

  defp more?(block, blocks) do
    eighth = div(blocks, 8)
    block < eighth or block >= div(7 * blocks, 8) or Integer.mod(block - eighth, 3) == 2
  end

  defp settled(false, _settings), do: false
  defp settled(true, settings), do: settings

  defp settled(own, settings) when is_list(own) do
    if not Keyword.keyword?(own), do: wrong!("what :where returns", "true, false or a keyword list", own)

    case Keyword.keys(own) -- [:bits, :group_size, :mode] do
      # Another mode has other defaults.
      [] -> settings!(if own[:mode] in [nil, settings[:mode]], do: Keyword.merge(settings, own), else: own)
      [other | _] -> wrong!("what :where returns", "of :bits, :group_size and :mode", other)
    end
  end

  defp settled(other, _settings), do: wrong!("what :where returns", "true, false or a keyword list", other)
end
