defmodule Mlx.LM.Server.About do
  @moduledoc false
  # What processes on the node of a server have to know of its model to make tokens of a prompt and text of tokens. A
  # tokenizer is large, so it lies where processes read it without a copy. A process of its own takes it away when the server
  # has ended, however that ended.

  alias Mlx.LM.{ChatTemplate, Tokenizer}
  alias Mlx.LM.Server.Batch
  alias Mlx.LM.Speculation.Settings

  @typep draft :: Settings.t() | nil

  # `drafts?` says whether rows of the model can have drafts, and `draft_tokens` how many its draft model makes by default.
  @enforce_keys [:name, :tokenizer, :template, :context_length, :drafts?, :draft_tokens]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          name: String.t(),
          tokenizer: Tokenizer.t(),
          template: ChatTemplate.t() | nil,
          context_length: pos_integer(),
          drafts?: boolean(),
          draft_tokens: pos_integer() | nil
        }

  @doc "Keeps what is to be known of a model and its drafts for the calling process, until that ends."
  @spec put(Mlx.LM.t(), draft) :: t()
  def put(%Mlx.LM{} = lm, draft \\ nil) do
    about = %__MODULE__{
      name: lm.name,
      tokenizer: lm.tokenizer,
      template: lm.template,
      context_length: lm.model.config.context_length,
      drafts?: Batch.forgets?(lm.model),
      draft_tokens: draft && draft.most
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

  @doc """
  After how many tokens of a prompt of messages the first and the last but one message end, as far as the template shows it.
  """
  @spec borders(t(), Mlx.LM.prompt(), [Tokenizer.id()], keyword()) :: [pos_integer()]
  def borders(about, [%{} | _] = messages, ids, options) do
    variables = Keyword.merge(options[:template] || [], add_generation_prompt: false)

    for count <- Enum.uniq([1, length(messages) - 1]),
        count in 1..(length(messages) - 1)//1,
        border = border(about, Enum.take(messages, count), ids, variables),
        do: border
  end

  def borders(_about, _prompt, _ids, _options), do: []

  # Some templates refuse messages that are no whole conversation.
  defp border(about, messages, ids, variables) do
    part = encode(about, messages, template: variables)
    if List.starts_with?(ids, part) and part != [] and length(part) < length(ids), do: length(part)
  rescue
    _error in [ArgumentError, Mlx.Error] -> nil
  end

  @doc "The tokens of a prompt, as `Mlx.LM.encode/3` makes them, for what is known of a model here or by `Mlx.LM.Server.model/1`."
  @spec encode(
          %{
            :name => String.t(),
            :tokenizer => Tokenizer.t(),
            :template => ChatTemplate.t() | nil,
            optional(atom()) => term()
          },
          Mlx.LM.prompt(),
          keyword()
        ) :: [Tokenizer.id()]
  def encode(%{name: name, tokenizer: tokenizer, template: template}, prompt, options) do
    lm = %Mlx.LM{name: name, model: nil, decode: nil, tokenizer: tokenizer, template: template}
    Mlx.LM.encode(lm, prompt, options)
  end
end
