if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend do
    @moduledoc """
    Nx on the arrays of MLX.

        config :nx, default_backend: Mlx.Backend

    or, for the calling process:

        Nx.default_backend(Mlx.Backend)

    Every function of Nx then works on MLX arrays:

        iex> Nx.tensor([1, 2, 3], backend: Mlx.Backend) |> Nx.multiply(2) |> Nx.to_list()
        [2, 4, 6]

    A tensor of this backend is a `Mlx.Array` in the clothes of Nx: `Mlx.Nx.from_nx/1` and `Mlx.Nx.to_nx/1` change them
    without a copy. Tensors of other backends are converted where they meet one of this.

    ## Eager and lazy

    Each result is handed to MLX as it is made, small ones several at a time, and computed while the program goes on, so that
    memory and errors behave as with any backend. With `lazy: true` operations only add to a graph, as those of `Mlx` do: it
    is computed when a value is read, or by `Mlx.eval/1` of the array.

        Nx.default_backend({Mlx.Backend, lazy: true})

    The results of an operation on a lazy tensor are lazy. So are the tensors that functions of Nx need inside of
    `Mlx.compile/2` and `Mlx.vmap/2`, where arrays have no values:

        iex> sum = fn x -> x |> Mlx.Nx.to_nx(lazy: true) |> Nx.cos() |> Nx.sum() |> Mlx.Nx.from_nx() end
        iex> Mlx.vmap(sum).(Mlx.zeros({2, 3})) |> Mlx.to_list()
        [3.0, 3.0]

    ## Types

    | Nx | here |
    | --- | --- |
    | `u8` ... `u64`, `s8` ... `s64`, `f16`, `bf16`, `f32`, `c64` | the same type of MLX |
    | `f64` | the same, computed on the CPU (see below) |
    | `u2`, `u4`, `s2`, `s4` | held in 8 bits; results wrap around as theirs do |
    | `f8`, `f8_e4m3fn` | held and computed in `f16`, and rounded where they are read |
    | `c128` | MLX has none: such tensors are held and computed by `Nx.BinaryBackend` (see below) |

    ## Differences from `Nx.BinaryBackend`

    | | here |
    | --- | --- |
    | `Nx.quotient/2`, `Nx.remainder/2` of integers by 0 | 0, and the dividend |
    | an index out of bounds in `Nx.take/3`, `Nx.gather/3`, `Nx.indexed_add/4`, ... | clamped into the axis; a negative one counts from its end. With `config :mlx, bounds_check: :raise` an `ArgumentError`, at the price of computing the indices, but in compiled definitions |
    | `Nx.pow/2` of integers with a negative exponent | 0, or 1 and -1 for the bases that have an integer inverse |
    | a shift by more bits than the type has | 0, or -1 for negative numbers shifted right |
    | `Nx.LinAlg.cholesky/1` of a matrix that is not positive definite | NaN |
    | a singular matrix in `Nx.LinAlg.solve/2`, `Nx.LinAlg.triangular_solve/3` | an `Mlx.Error` that says so, where it is computed; NaN and infinity of `c64` |
    | a singular matrix in `Nx.LinAlg.invert/1` | NaN, as there |
    | `Nx.from_pointer/5`, `Nx.to_pointer/2` | only with the option `unsafe: true`: see `Mlx.Unsafe` |
    | a result that is larger than the memory | an `Mlx.Error` before it is made |

    Sums and products of `f16` and `bf16` are accumulated in `f32`.

    GPUs with units for it (CUDA, the Apple M5) multiply matrices of `f32` with 10 bits of the fraction, as MLX does in every
    language. The environment variable `MLX_ENABLE_TF32=0`, set before the virtual machine starts, asks for all 23.

    ## What MLX or a GPU has no operation for

    On a GPU the CPU computes, on the same memory, what the GPU has no type or no kernel for:

      * operations that take or give tensors of `f64`, with which Nx computes some things by itself
      * `Nx.indexed_add/4`, `Nx.indexed_put/4` and `Nx.window_scatter_max/5` and its like of `s64`, `u64` and `c64`
      * `Nx.acosh/1`, `Nx.asinh/1` and `Nx.atanh/1` of `c64`
      * the factorisations of `Nx.LinAlg`

    On every device `Nx.BinaryBackend` computes, on copies of the tensors, element by element in Elixir:

      * `Nx.reduce/4` and `Nx.window_reduce/5`, which call an Elixir function for every element
      * operations that take or give tensors of `c128`, such as the Fourier transform of `f64`

    Each time the event `[:mlx, :fallback]` of `Mlx.Telemetry` is emitted, of compiled definitions when they are compiled, and

        config :mlx, nx_fallback: :warn       # or :raise, default :allow

    logs it or forbids it. `Nx.sum/2`, `Nx.reduce_max/2`, `Nx.window_sum/3` and their like are MLX's.

    ## Inspecting

    `inspect/2` of a tensor names this backend. To have the text of all backends alike, as doctests need it:

        config :mlx, add_backend_on_inspect: false

    ## Options

      * `:lazy` - see above, default false
      * `:device` - `:cpu` or `:gpu`: where tensors are made, and where the results of operations on them are computed, in
        place of the device of the calling process (`Mlx.with_device/2`, `Mlx.Device.default/0`). Of tensors with different
        devices the first one counts. A device that is not there raises an `ArgumentError`

    The option works wherever Nx takes a backend: `Nx.default_backend({Mlx.Backend, device: :cpu})`, a `:backend` option, and

        config :nx, default_backend: {Mlx.Backend, device: :gpu}
    """

    @behaviour Nx.Backend

    import Mlx.Nx.Backend.ForeignTypes, only: [is_absent: 1]
    import Mlx.NonFinite.Operations, only: [checked: 3]

    alias Mlx.Nx.Backend.{Arithmetic, Bits, Block, Conversion, Convolution, Creation, Elementwise, Fallback, Fourier}

    alias Mlx.Nx.Backend.{
      Indexing,
      Logic,
      Manner,
      Products,
      Reduction,
      Shape,
      Slicing,
      Sorting,
      Transfer,
      Triangular,
      Windows
    }

    @enforce_keys [:array]
    defstruct [:array, lazy: false, device: nil, waiting: 0]

    @typedoc """
    What a tensor of Nx holds in its field `data`: an array, or of a quantized tensor a struct of arrays (see
    `Mlx.Nx.quantize/2`). `:waiting` is how many operations may not be handed to the device yet.
    """
    @type t :: %__MODULE__{
            array: Mlx.Array.t() | struct(),
            lazy: boolean(),
            device: Mlx.Device.t() | nil,
            waiting: non_neg_integer()
          }

    @impl true
    def init(options), do: Manner.validate!(options)

    # The operations, by the module that has them. Each takes the template of its result and then, for every argument of
    # the callback: the array of a `tensor`, the arrays of `tensors`, and a `term` as it is; `positions` are integers and
    # tensors of integers, and `held` is a tensor that may stay quantized. It returns an array, whose type becomes that of
    # the template.
    @operations [
      {Arithmetic, [:tensor, :tensor], ~w(add subtract multiply divide pow remainder quotient atan2 min max)a},
      {Bits, [:tensor, :tensor], ~w(bitwise_and bitwise_or bitwise_xor left_shift right_shift)a},
      {Bits, [:tensor], ~w(bitwise_not count_leading_zeros population_count bitcast)a},
      {Logic, [:tensor, :tensor],
       ~w(equal not_equal greater less greater_equal less_equal logical_and logical_or logical_xor)a},
      {Logic, [:tensor], ~w(is_nan is_infinity)a},
      {Logic, [:tensor, :tensor, :tensor], ~w(select)a},
      {Elementwise, [:tensor],
       ~w(exp expm1 log log1p sigmoid cos sin tan cosh sinh tanh acos asin atan acosh asinh atanh sqrt rsqrt cbrt erf erfc
          erf_inv abs ceil conjugate floor negate round sign real imag)a},
      {Elementwise, [:held], ~w(as_type)a},
      {Elementwise, [:tensor, :tensor, :tensor], ~w(clip)a},
      {Shape, [:tensor], ~w(reshape)a},
      {Shape, [:tensor, :term], ~w(squeeze transpose reverse)a},
      {Shape, [:tensor, :term, :term], ~w(broadcast)a},
      {Shape, [:tensor, :tensor, :term], ~w(pad)a},
      {Shape, [:tensors, :term], ~w(concatenate stack)a},
      {Slicing, [:tensor, :positions, :term, :term], ~w(slice)a},
      {Slicing, [:tensor, :positions, :tensor], ~w(put_slice)a},
      {Indexing, [:tensor, :tensor, :term], ~w(gather)a},
      {Indexing, [:tensor, :tensor, :tensor, :term], ~w(indexed_add indexed_put)a},
      {Products, [:held, :term, :term, :held, :term, :term], ~w(dot)a},
      {Convolution, [:tensor, :tensor, :term], ~w(conv)a},
      {Reduction, [:tensor, :term], ~w(all any sum product reduce_max reduce_min argmax argmin)a},
      {Sorting, [:tensor, :term], ~w(sort argsort)a},
      {Windows, [:tensor, :term, :term], ~w(window_sum window_product window_max window_min)a},
      {Windows, [:tensor, :tensor, :tensor, :term, :term], ~w(window_scatter_max window_scatter_min)a},
      {Triangular, [:tensor, :tensor, :term], ~w(triangular_solve)a},
      {Fourier, [:tensor, :term], ~w(fft ifft)a}
    ]

    for {module, kinds, names} <- @operations, name <- names do
      arguments = Macro.generate_arguments(length(kinds), __MODULE__)

      values =
        for {kind, argument} <- Enum.zip(kinds, arguments) do
          case kind do
            :tensor -> quote(do: Conversion.array(unquote(argument)))
            :held -> quote(do: Conversion.held(unquote(argument)))
            :tensors -> quote(do: Conversion.arrays(unquote(argument)))
            :positions -> quote(do: Conversion.positions(unquote(argument)))
            :term -> argument
          end
        end

      manner =
        for({kind, argument} <- Enum.zip(kinds, arguments), kind != :term, do: quote(do: Manner.of(unquote(argument))))
        |> Enum.reduce(fn next, first -> quote(do: Manner.join(unquote(first), unquote(next))) end)

      # Some equations have no solution, which is raised where it is asked for.
      manner = if module == Triangular, do: quote(do: Manner.at_once(unquote(manner))), else: manner

      out = Macro.var(:out, __MODULE__)
      tensors = for {kind, argument} <- Enum.zip(kinds, arguments), kind in [:tensor, :held], do: argument

      absent =
        Enum.reduce(tensors, quote(do: is_absent(unquote(out))), fn tensor, first ->
          quote(do: unquote(first) or is_absent(unquote(tensor)))
        end)

      @impl true
      def unquote(name)(unquote(out), unquote_splicing(arguments)) when unquote(absent) do
        Fallback.compute(unquote(name), unquote(out), [unquote_splicing(arguments)])
      end

      def unquote(name)(unquote(out), unquote_splicing(arguments)) do
        manner = unquote(manner)

        Manner.run(manner, unquote(name), [unquote(out), unquote_splicing(arguments)], fn ->
          [unquote_splicing(arguments)] = values = [unquote_splicing(values)]

          checked unquote("Nx.#{name}"), values do
            result = unquote(module).unquote(name)(unquote(out), unquote_splicing(arguments))
            Conversion.result(unquote(out), result, manner)
          end
        end)
      end
    end

    @impl true
    defdelegate constant(out, number, options), to: Creation

    @impl true
    defdelegate from_binary(out, binary, options), to: Creation

    @impl true
    defdelegate eye(out, options), to: Creation

    @impl true
    defdelegate iota(out, axis, options), to: Creation

    @impl true
    defdelegate backend_copy(tensor, backend, options), to: Transfer

    @impl true
    defdelegate backend_transfer(tensor, backend, options), to: Transfer

    @impl true
    defdelegate backend_deallocate(tensor), to: Transfer

    @impl true
    defdelegate to_binary(tensor, limit), to: Transfer

    @impl true
    defdelegate to_batched(out, tensor, options), to: Transfer

    @impl true
    defdelegate inspect(tensor, options), to: Transfer

    @impl true
    defdelegate from_pointer(pointer, type, shape, backend_options, options), to: Transfer

    @impl true
    defdelegate to_pointer(tensor, options), to: Transfer

    @impl true
    defdelegate reduce(out, tensor, accumulator, options, fun), to: Fallback

    @impl true
    defdelegate window_reduce(out, tensor, accumulator, window, options, fun), to: Fallback

    @impl true
    defdelegate block(block, out, arguments, fun), to: Block
  end
end
