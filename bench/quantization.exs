# What is measured is measured with all kernels there.
Application.put_env(:mlx, :kernels, :wait)
Code.require_file("table.exs", __DIR__)

defmodule Bench.Quantization do
  @moduledoc false
  # quantization.py makes a folder by each method. Both are loaded here, and foretell the same text.

  alias Bench.Table
  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Quantization.Calibration

  @root Path.expand("..", __DIR__)
  @methods [:round, :gptq, :awq, :dynamic, :dwq]
  @window 256
  @batch_size 2
  @rate 1.0e-4
  @seed 0
  @high %{2 => 3, 3 => 4, 4 => 5, 5 => 6}

  def run(arguments) do
    {[bits, windows], methods} = numbers(arguments)
    folder = Path.join(System.tmp_dir!(), "mlx-bench-quantization-#{System.pid()}")
    File.mkdir_p!(folder)

    try do
      compare(folder, bits, windows, methods)
    after
      File.rm_rf!(folder)
    end
  end

  defp group_size, do: "GROUP_SIZE" |> System.get_env("64") |> String.to_integer()

  defp numbers(arguments) do
    {numbers, methods} = Enum.split_while(arguments, &(Integer.parse(&1) != :error))
    [bits, windows] = numbers |> Enum.map(&String.to_integer/1) |> Kernel.++(Enum.drop([4, 16], length(numbers)))
    {[bits, windows], if(methods == [], do: @methods, else: Enum.map(methods, &String.to_existing_atom/1))}
  end

  defp compare(folder, bits, windows, methods) do
    model = Path.join(folder, "model")
    Mlx.LM.convert(System.fetch_env!("MLX_TEST_MODEL"), model, dequantize: true, type: :f32)
    Mlx.Memory.clear_cache()
    learned = [@root, "guides", "*.md"] |> Path.join() |> Path.wildcard() |> Enum.map(&File.read!/1)
    options = [window: @window, windows: windows, batch_size: @batch_size]
    tested = tested(model, div(windows + 1, 2))
    whole = for ids <- tested, do: foretold(Checkpoint.load(model, type: :f32), ids)
    IO.puts("whole model: perplexity #{Table.format(perplexity(Enum.zip(whole, tested)))}")

    setting = %{
      folder: folder,
      model: model,
      bits: bits,
      learned: learned,
      options: options,
      tested: tested,
      whole: whole
    }

    rows = for method <- methods, do: row(method, setting)
    ratios = for {_method, {ours, _}, {theirs, _}} <- rows, theirs != nil, do: ours.divergence / theirs.divergence
    IO.puts("largest ratio of divergences: #{if ratios == [], do: "none", else: Table.format(Enum.max(ratios))}")
  end

  defp tested(model, windows) do
    ids = Mlx.LM.Tokenizer.encode(Calibration.tokenizer(model), File.read!(Path.join(@root, "ARCHITECTURE.md")))
    for window <- ids |> Enum.chunk_every(@window, @window, :discard) |> Enum.take(windows), do: Mlx.array([window])
  end

  defp row(method, setting) do
    warm(method, setting)
    ours = measured(fn -> ours(method, setting) end, setting)
    theirs = measured(fn -> theirs(method, setting) end, setting)
    row = {method, ours, theirs}
    show(row)
    row
  end

  # A GPU's kernels for packed matrices are compiled where they are first used, for half a minute, and kept for both sides.
  defp warm(:dwq, setting), do: if(Mlx.Device.default() != :cpu, do: ours(:dwq, setting, steps: 1))
  defp warm(_method, _setting), do: :ok

  defp ours(method, setting, more \\ []) do
    folder = Path.join(setting.folder, "ours")
    File.rm_rf!(folder)
    own = [method: method, bits: setting.bits, group_size: group_size()] ++ own(method, setting.bits) ++ more
    text = if method == :round, do: [], else: [calibration: setting.learned] ++ setting.options
    Mlx.LM.quantize(setting.model, folder, own ++ text)
    folder
  end

  defp own(:dynamic, bits), do: [high_bits: @high[bits], bits_per_weight: bits_per_weight(bits)]
  defp own(:dwq, _bits), do: [learning_rate: @rate, seed: @seed]
  defp own(_method, _bits), do: []

  # In the middle between all with few bits and all with more, with a scale and a bias of 32 bits for each group.
  defp bits_per_weight(bits), do: (bits + @high[bits]) / 2 + 64 / group_size()

  defp theirs(method, setting) do
    folder = Path.join(setting.folder, "theirs")
    File.rm_rf!(folder)
    %{bits: bits} = setting
    tokens = Path.join(setting.folder, "tokens.safetensors")
    Mlx.IO.save(tokens, %{"tokens" => tokens(method, setting)})
    numbers = [bits, @high[bits], bits_per_weight(bits), @rate, @batch_size]
    script = Path.join(__DIR__, "quantization.py")
    arguments = [script, method, setting.model, folder, tokens | numbers]
    environment = [{"LD_PRELOAD", System.fetch_env!("BENCH_MLX")}]
    python = System.fetch_env!("MLX_LM_PYTHON")
    {output, status} = System.cmd(python, Enum.map(arguments, &to_string/1), env: environment, stderr_to_stdout: true)

    if status == 0,
      do: folder,
      else: IO.puts("mlx-lm cannot: #{output |> String.split("\n", trim: true) |> List.last()}")
  end

  # In the order in which they are read here.
  defp tokens(method, %{model: model, learned: learned, options: options}) do
    options = if method == :dwq, do: [seed: @seed] ++ options, else: options
    model |> Calibration.tokenizer() |> Calibration.batches(learned, options) |> Mlx.concatenate(axis: 0)
  end

  # The figures of the folder that a function makes, and the seconds that it took.
  defp measured(fun, setting) do
    {us, folder} = :timer.tc(fun)
    Mlx.Memory.clear_cache()
    {if(folder == :ok, do: nil, else: figures(folder, setting)), us / 1.0e6}
  end

  defp figures(folder, %{tested: tested, whole: whole, model: model}) do
    decoder = Checkpoint.load(folder, type: :f32, form: :dense)
    foretold = for ids <- tested, do: foretold(decoder, ids)

    divergences =
      for {q, p} <- Enum.zip(foretold, whole), do: q |> Mlx.NN.Losses.kl_div_loss(p) |> Mlx.mean() |> Mlx.to_number()

    [packed, numbers] = for path <- [folder, model], do: Checkpoint.tensors(path)
    bytes = packed |> Map.values() |> Enum.sum_by(&(Tuple.product(&1.shape) * Mlx.Type.bytes(&1.type)))

    %{
      bits: bytes * 8 / (numbers |> Map.values() |> Enum.sum_by(&Tuple.product(&1.shape))),
      perplexity: perplexity(Enum.zip(foretold, tested)),
      divergence: Enum.sum(divergences) / length(divergences)
    }
  end

  # The logarithms of the probabilities of the tokens after each but the last.
  defp foretold(decoder, ids) do
    {_one, length} = ids.shape
    {logits, _caches} = Decoder.logits(decoder, Mlx.slice(ids, [0, 0], [1, length - 1]), Decoder.caches(decoder))
    Mlx.eval(Mlx.subtract(logits, Mlx.logsumexp(logits, axes: [-1], keep_axes: true)))
  end

  defp perplexity(windows) do
    losses =
      for {logarithms, ids} <- windows do
        {_one, length} = ids.shape
        next = ids |> Mlx.slice([0, 1], [1, length - 1]) |> Mlx.new_axis(-1)
        logarithms |> Mlx.take_along_axis(next, axis: -1) |> Mlx.mean() |> Mlx.negate() |> Mlx.to_number()
      end

    :math.exp(Enum.sum(losses) / length(losses))
  end

  defp show({method, {ours, seconds}, {nil, _theirs}}) do
    Table.header(to_string(method), "Mlx", "mlx-lm")

    for {name, value} <- rows(ours, seconds) do
      IO.puts(String.pad_trailing(name, 40) <> String.pad_leading(format(value), 12))
    end
  end

  defp show({method, {ours, seconds}, {theirs, their_seconds}}) do
    Table.header(to_string(method), "Mlx", "mlx-lm")

    for {{name, a}, {_name, b}} <- Enum.zip(rows(ours, seconds), rows(theirs, their_seconds)) do
      IO.puts(String.pad_trailing(name, 40) <> Enum.map_join([a, b, a / b], &String.pad_leading(format(&1), 12)))
    end
  end

  defp rows(figures, seconds) do
    [
      {"bits for a weight", figures.bits},
      {"perplexity", figures.perplexity},
      {"divergence", figures.divergence},
      {"seconds", seconds}
    ]
  end

  defp format(number), do: :erlang.float_to_binary(number, decimals: 4)
end

Bench.Quantization.run(System.argv())
