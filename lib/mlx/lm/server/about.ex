defmodule Mlx.LM.Server.About do
  @moduledoc false
  # What processes on the node of a server have to know of its model to make tokens of a prompt and text of tokens. A
  # tokenizer is large, so it lies where processes read it without a copy. A process of its own takes it away when the server
  # has ended, however that ended.

  alias Mlx.LM.{ChatTemplate, Tokenizer}

  @enforce_keys [:name, :tokenizer, :template, :context_length]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          name: String.t(),
          tokenizer: Tokenizer.t(),
          template: ChatTemplate.t() | nil,
          context_length: pos_integer()
        }

  @doc "Keeps what is to be known of a model for the calling process, until that ends."
  @spec put(Mlx.LM.t()) :: t()
  def put(%Mlx.LM{} = lm) do
    about = %__MODULE__{
      name: lm.name,
      tokenizer: lm.tokenizer,
      template: lm.template,
      context_length: lm.model.config.context_length
    }

    server = self()
    :persistent_term.put({__MODULE__, server}, about)
    spawn(fn -> keep(server) end)
    about
  end

  defp keep(server) do
    monitor = Process.monitor(server)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> :persistent_term.erase({__MODULE__, server})
    end
  end

  @doc "That of a server on this node; nil where there is none."
  @spec get(pid()) :: t() | nil
  def get(server), do: :persistent_term.get({__MODULE__, server}, nil)

  @doc "The tokens of a prompt, as `Mlx.LM.encode/3` makes them."
  @spec encode(t(), Mlx.LM.prompt(), keyword()) :: [Tokenizer.id()]
  def encode(%__MODULE__{} = about, prompt, options) do
    lm = %Mlx.LM{name: about.name, model: nil, decode: nil, tokenizer: about.tokenizer, template: about.template}
    Mlx.LM.encode(lm, prompt, options)
  end
end
