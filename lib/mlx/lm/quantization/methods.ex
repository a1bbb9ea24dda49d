defmodule Mlx.LM.Quantization.Methods do
  @moduledoc false
  # `Mlx.LM.quantize/3`: the methods by their names, with the options that each takes beside the common ones.
  #
  # A method gets the decoder, whose numbers are `:f32` on a CPU, and a context:
  #
  #   * `choose` - the settings of a layer by its path and the layer, or false
  #   * `batches` - the tokens of the calibration text
  #   * `options` - its own
  #   * `type` - that of scales and biases in the end
  #   * `report` - a function for progress

  alias Mlx.Array
  alias Mlx.Arguments.{ArgumentType, Given, Options}
  alias Mlx.LM.Conversion
  alias Mlx.LM.Decoder.Matrix
  alias Mlx.LM.Quantization.{AWQ, Calibration, DWQ, Dynamic, GPTQ, Packing}
  alias Mlx.LM.Sampler.OptionTable

  # name, module
  @methods [round: nil, gptq: GPTQ, dynamic: Dynamic, dwq: DWQ, awq: AWQ]

  @bits [2, 3, 4, 5, 6, 8]

  @recipe [:bits, :group_size, :recipe, :where]
  @conversion [:type, :families, :shard_size, :progress]

  @calibration [
    window: {512, {:integer, 2, nil}},
    windows: {32, {:optional, {:integer, 1, nil}}},
    batch_size: {4, {:integer, 1, nil}}
  ]

  @options [method: nil, dequantize: false, calibration: nil, embedding_bits: nil] ++
             for(name <- @recipe ++ @conversion, do: {name, if(name == :families, do: %{})})

  @doc "The names of the methods."
  @spec names() :: [atom()]
  def names, do: Keyword.keys(@methods)

  defp table(method), do: if(module = @methods[method], do: module.options(), else: [])

  @doc "Quantizes a model. Errors name no function."
  @spec run(String.t(), String.t(), keyword()) :: %{
          parameters: non_neg_integer(),
          bytes: non_neg_integer(),
          bits_per_weight: float()
        }
  def run(source, folder, options) do
    options = check!(options)

    conversion =
      Keyword.merge(
        Conversion.options(),
        [quantize: recipe(options)] ++ Keyword.take(options, [:dequantize | @conversion])
      )

    Conversion.run(source, folder, conversion, &quantized(&1, &2, &3, options))
  end

  defp recipe(options), do: for({name, value} <- Keyword.take(options, @recipe), value != nil, do: {name, value})

  defp check!(options) do
    tables = for name <- names(), row <- table(name), uniq: true, do: row
    known = @options ++ OptionTable.defaults(@calibration ++ tables)
    method = Options.complete(options, :"LM.quantize", known)[:method]

    if method not in names() do
      raise ArgumentError, "expected :method to be one of #{inspect(names())}, got: #{Given.text(method)}"
    end

    own = @calibration ++ table(method)

    for name <- Keyword.keys(options), Keyword.has_key?(tables, name), not Keyword.has_key?(own, name) do
      raise ArgumentError, "the method #{inspect(method)} has no option #{inspect(name)}; leave it out"
    end

    options = Keyword.merge(@options ++ OptionTable.defaults(own), options)
    OptionTable.check!(own ++ [embedding_bits: {nil, {:optional, {:one_of, @bits}}}], options)
    check_text!(method, options[:calibration])
    options
  end

  defp check_text!(:round, nil), do: :ok

  defp check_text!(:round, _text) do
    raise ArgumentError, "the method :round reads no :calibration; leave it out, or choose another method"
  end

  defp check_text!(method, text) do
    texts = if is_binary(text), do: [text], else: text

    if not (ArgumentType.list?(texts) and texts != [] and Enum.all?(texts, &is_binary/1)) do
      raise ArgumentError,
            "the method #{inspect(method)} needs a :calibration, a text or a list of texts like those that the model will " <>
              "read, got: #{Given.text(text)}"
    end
  end

  defp quantized(decoder, choose, path, options) do
    choose = &chosen(choose.(&1, &2), &1, options[:embedding_bits])

    case @methods[options[:method]] do
      nil -> Packing.quantize(decoder, choose)
      module -> learned(module, decoder, choose, path, options)
    end
  end

  # Tokens as they come in, and as they go out.
  defp chosen(settings, path, bits) when bits != nil and settings != false do
    if settings[:mode] == :affine and path in ["model.embed_tokens", "lm_head"],
      do: Keyword.put(settings, :bits, bits),
      else: settings
  end

  defp chosen(settings, _path, _bits), do: settings

  defp learned(module, decoder, choose, path, options) do
    tokenizer = Calibration.tokenizer(path)
    most = decoder.config.context_length
    options = Keyword.update!(options, :window, &min(&1, most))
    type = Matrix.type(decoder) || :f32

    context = %{
      choose: choose,
      batches: Calibration.batches(tokenizer, options[:calibration], options),
      options: options,
      type: type,
      report: options[:progress] || fn _progress -> :ok end
    }

    decoder |> computed() |> module.quantize(context) |> in_type(type)
  end

  # MLX multiplies matrices of 16 bits slowly on a CPU.
  defp computed(decoder), do: if(Mlx.Device.default() == :cpu, do: in_type(decoder, :f32), else: decoder)

  defp in_type(decoder, type) do
    Map.merge(
      decoder,
      Mlx.Tree.map(Map.take(decoder, [:model, :lm_head]), fn %Array{type: own} = array ->
        if own in [:f32, :f16, :bf16] and own != type, do: Mlx.as_type(array, type), else: array
      end)
    )
  end
end
