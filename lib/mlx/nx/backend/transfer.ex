if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Transfer do
    @moduledoc false
    # Tensors out of this backend, and into another one.

    import Mlx.Nx.Backend.Conversion, only: [array: 1, held: 1, type: 1, wrap: 3, write: 2]

    alias Inspect.Algebra
    alias Mlx.{Array, Backend, Native, Unsafe}
    alias Mlx.Arguments.{CalledFunction, Options, Presence}
    alias Mlx.Nx.Backend.{Manner, Quantized}
    alias Nx.{Pointer, Tensor}

    @spec backend_copy(Tensor.t(), module(), keyword()) :: Tensor.t()
    def backend_copy(tensor, Backend, options) do
      manner = Manner.from(options)
      wrap(tensor, Manner.run(manner, :backend_copy, [tensor], fn -> tensor |> held() |> copied() end), manner)
    end

    def backend_copy(tensor, Tensor, options), do: backend_copy(tensor, Nx.BinaryBackend, options)

    def backend_copy(tensor, backend, options),
      do: backend.from_binary(tensor, write(array(tensor), tensor.type), options)

    defp copied(%Array{} = array), do: Native.copy(array, nil)
    defp copied(%Quantized{} = quantized), do: Quantized.map(quantized, &Native.copy(&1, nil))

    @spec backend_transfer(Tensor.t(), module(), keyword()) :: Tensor.t()
    def backend_transfer(tensor, Backend, options) do
      wrap(tensor, held(tensor), Manner.from(options))
    end

    def backend_transfer(tensor, backend, options) do
      copy = backend_copy(tensor, backend, options)
      backend_deallocate(tensor)
      copy
    end

    @spec backend_deallocate(Tensor.t()) :: :ok | :already_deallocated
    def backend_deallocate(tensor) do
      arrays = tensor |> held() |> arrays()

      if Enum.all?(arrays, &(Presence.of(&1) == :here)),
        do: Enum.each(arrays, &Native.deallocate/1),
        else: :already_deallocated
    end

    defp arrays(%Array{} = array), do: [array]
    defp arrays(%Quantized{arrays: arrays}), do: arrays

    @spec to_binary(Tensor.t(), non_neg_integer()) :: bitstring()
    def to_binary(tensor, limit), do: tensor |> first(limit) |> write(tensor.type)

    # The array has the vectorized axes, too.
    defp first(tensor, limit) do
      array = array(tensor)
      size = Tuple.product(array.shape)

      if limit >= size do
        array
      else
        tensor
        |> Manner.of()
        |> Manner.run(:slice, [tensor], fn ->
          array |> Native.reshape({size}, nil) |> Native.slice([0], [limit], [1], nil)
        end)
      end
    end

    @spec to_batched(Tensor.t(), Tensor.t(), keyword()) :: Enumerable.t()
    def to_batched(%Tensor{shape: batch} = out, %Tensor{shape: shape} = tensor, options) do
      {size, total} = {elem(batch, 0), elem(shape, 0)}
      last = if options[:leftover] == :repeat, do: total, else: total - size + 1

      Stream.map(0..(last - 1)//size, fn first ->
        {before, behind} = {min(size, total - first), size - min(size, total - first)}
        rows = Nx.slice_along_axis(tensor, first, before, axis: 0)
        rows = if behind == 0, do: rows, else: Nx.concatenate([rows, Nx.slice_along_axis(tensor, 0, behind, axis: 0)])
        %{out | data: rows.data}
      end)
    end

    @spec inspect(Tensor.t(), Inspect.Opts.t()) :: Algebra.t()
    def inspect(%Tensor{shape: shape} = tensor, options) do
      limit = if options.limit == :infinity, do: Tuple.product(shape), else: options.limit + 1
      elements = elements_or_reason(tensor, limit, options)

      if Application.get_env(:mlx, :add_backend_on_inspect, true) do
        Algebra.concat([title(held(tensor)), Algebra.line(), elements])
      else
        elements
      end
    end

    defp title(%Array{}), do: "Mlx.Backend"

    defp title(%Quantized{mode: mode, bits: bits, group_size: group_size}),
      do: "Mlx.Backend, quantized: #{mode}, #{bits} bits, groups of #{group_size}"

    # A tensor that cannot be read is inspected all the same: in error messages, in a debugger, in the shell.
    defp elements_or_reason(tensor, limit, options) do
      Nx.Backend.inspect(tensor, to_binary(tensor, limit), options)
    rescue
      error in [Mlx.Error, ArgumentError] -> tensor |> held() |> arrays() |> hd() |> Presence.reason(error)
    end

    @spec from_pointer(Pointer.t(), Nx.Type.t(), tuple(), keyword(), keyword()) :: Tensor.t()
    def from_pointer(%Pointer{kind: :local} = pointer, type, shape, backend_options, options) do
      {unsafe, backend_options} = Keyword.pop(backend_options, :unsafe, false)
      options = complete(options, :from_pointer, names: nil, owner: nil, unsafe: unsafe)
      require_consent(:from_pointer, options)
      out = Nx.template(shape, type, names: options[:names])
      expected = Nx.byte_size(out)

      if pointer.data_size != expected do
        raise ArgumentError,
              "Nx.from_pointer: the shape and type take #{expected} bytes, and the pointer has #{inspect(pointer.data_size)}"
      end

      array = Unsafe.from_pointer(pointer.address, shape, type(out), owner: options[:owner])
      wrap(out, array, backend_options |> Backend.init() |> Manner.from())
    end

    def from_pointer(%Pointer{kind: kind}, _type, _shape, _backend_options, _options) do
      raise ArgumentError, "Nx.from_pointer: Mlx.Backend takes pointers of the kind :local, got: #{inspect(kind)}"
    end

    @spec to_pointer(Tensor.t(), keyword()) :: Pointer.t()
    def to_pointer(tensor, options) do
      options = complete(options, :to_pointer, mode: :local, unsafe: false)

      if options[:mode] != :local do
        raise ArgumentError, "Nx.to_pointer: Mlx.Backend has the mode :local only, got: #{inspect(options[:mode])}"
      end

      require_consent(:to_pointer, options)
      %Pointer{kind: :local, address: tensor |> held() |> pointer(), data_size: Nx.byte_size(tensor)}
    end

    defp pointer(%Array{} = array), do: Unsafe.to_pointer(array)

    defp pointer(%Quantized{}) do
      raise ArgumentError,
            "Nx.to_pointer: a quantized tensor has no memory with its numbers; Mlx.Nx.dequantize/1 gives a tensor that has"
    end

    defp complete(options, function, defaults) do
      CalledFunction.name("Nx.#{function}", fn -> Options.complete(options, function, defaults) end)
    end

    defp require_consent(function, options) do
      if options[:unsafe] != true do
        raise ArgumentError,
              "Nx.#{function}: memory by its address can end the virtual machine (see Mlx.Unsafe); " <>
                "the option unsafe: true is needed"
      end
    end
  end
end
