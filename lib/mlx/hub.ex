defmodule Mlx.Hub do
  @moduledoc """
  Models of the Hugging Face Hub by their names, in the cache that Python's `huggingface_hub` has, too.

      Mlx.Hub.download("mlx-community/Qwen3-0.6B-4bit")
      #=> "/home/me/.cache/huggingface/hub/models--mlx-community--Qwen3-0.6B-4bit/snapshots/73e3e38d98..."

  A name is `owner/repository`, or `owner/repository@revision` with a branch, a tag or a commit. What Python has downloaded is
  found, and Python finds what is downloaded here. Files come several at a time. A download that was broken off, even by the
  end of the virtual machine, goes on where it ended. A file takes its place when its size and its checksum are those that
  the Hub tells. Several processes and virtual machines may ask for the same files.

  Where the Hub cannot be reached, what is cached is taken, with a warning in the log.

  ## Options

  Functions take those that they can use:

    * `:revision` - a branch, a tag or a commit, default `"main"`
    * `:files` - patterns of the files to take, such as `["*.json", "*.safetensors"]`, or `:all`. `*` also stands for `/`. By
      default it is what a language model needs: its settings (`*.json`), its tokenizer (`*.txt`, `*.model`, `*.tiktoken`), its
      chat templates (`*.jinja`) and its weights (`*.safetensors`), or the GGUF file where it is the only form of the weights
    * `:ignore` - patterns of files to leave out of these, default `[]`
    * `:token` - the token to show to the Hub, `false` for none
    * `:cache` - the folder of the cache
    * `:endpoint` - the address of the Hub
    * `:offline` - `true` asks nobody and takes what is cached
    * `:progress` - `true` writes a bar to standard error, which is the default where that is a terminal. A function is called
      several times a second with a map of `:name`, `:files`, `:of_files`, `:bytes` and `:of_bytes`
    * `:parallel` - how many files come at a time, default 4
    * `:connect_timeout` - the most milliseconds that a connection takes, default 10,000
    * `:timeout` - the most milliseconds in which a server sends nothing, default 30,000
    * `:attempts` - how often a request is tried that fails for a reason that may pass, default 5
    * `:backoff` - the milliseconds before the second attempt, which double with each that follows, default 500. A server that
      says how long to wait is listened to

  ## Environment

  | variable | meaning |
  | --- | --- |
  | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` | the folder of the cache, default `hub` in that of `HF_HOME` |
  | `HF_HOME` | the folder of Hugging Face's files, default `huggingface` in `XDG_CACHE_HOME` or `~/.cache` |
  | `HF_TOKEN` | the token, default the text of the file `HF_TOKEN_PATH`, which is `token` in `HF_HOME` |
  | `HF_ENDPOINT` | the address of the Hub or of a mirror of it |
  | `HF_HUB_OFFLINE` | `1` asks nobody |
  | `HF_HUB_DISABLE_PROGRESS_BARS` | `1` shows no bar |
  | `HF_HUB_DISABLE_SYMLINKS` | `1` places files without symbolic links |
  | `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies, and the hosts that are reached without one |
  | `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `HEX_CACERTS_PATH` | certificates to trust in place of the system's |

  The token is sent to the endpoint and to no other server, and appears in no message.

  Python: `huggingface_hub.snapshot_download`, `huggingface_hub.hf_hub_download`, `huggingface_hub.scan_cache_dir`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given}
  alias Mlx.Hub.{Cache, Download, Inventory, Name, Settings}
  alias Mlx.IO.FilePath

  @type revision :: %{
          commit: String.t(),
          names: [String.t()],
          folder: Path.t(),
          files: non_neg_integer(),
          size: non_neg_integer(),
          modified: DateTime.t() | nil
        }

  @type model :: %{
          name: String.t(),
          folder: Path.t(),
          size: non_neg_integer(),
          revisions: [revision()],
          last_used: DateTime.t() | nil
        }

  @doc """
  Downloads the files of a model that are not in the cache, and returns the folder that holds all of them.

  The options are those of the module. Raises `Mlx.Error` with one sentence where the Hub, the repository or its files cannot
  be had, and `ArgumentError` for a name or an option that is none.

      iex> Mlx.Hub.download("mlx-community/Qwen3-0.6B-4bit", cache: "/nowhere", offline: true)
      ** (Mlx.Error) Mlx.Hub.download: the Hub is not asked (offline), and mlx-community/Qwen3-0.6B-4bit in the revision "main" is not in the cache /nowhere

  Python: `huggingface_hub.snapshot_download`.
  """
  @spec download(String.t(), keyword()) :: Path.t()
  def download(name, options \\ [])

  def download(name, options) when is_binary(name) do
    CalledFunction.name("Mlx.Hub.download", fn ->
      {repository, settings} = settings(name, options, :"Hub.download")
      Download.snapshot!(settings, repository)
    end)
  end

  @doc """
  Downloads one file of a repository where it is not in the cache, and returns its path.

  The options are those of the module but for `:files` and `:ignore`.

      iex> Mlx.Hub.file("mlx-community/Qwen3-0.6B-4bit", "../config.json")
      ** (ArgumentError) Mlx.Hub.file: expected the path of a file in the repository such as "config.json", got: "../config.json"

  Python: `huggingface_hub.hf_hub_download`.
  """
  @spec file(String.t(), String.t(), keyword()) :: Path.t()
  def file(name, path, options \\ [])

  def file(name, path, options) when is_binary(name) and is_binary(path) do
    CalledFunction.name("Mlx.Hub.file", fn ->
      {repository, settings} = settings(name, options, :"Hub.file")

      if not Name.path?(path) do
        raise ArgumentError,
              "expected the path of a file in the repository such as \"config.json\", got: #{Given.text(path)}"
      end

      Download.file!(settings, repository, path)
    end)
  end

  @doc """
  The folder of a model's files as they are cached, or nil. Nobody is asked.

      iex> Mlx.Hub.path("mlx-community/Qwen3-0.6B-4bit", cache: "/nowhere")
      nil

  Python: `huggingface_hub.try_to_load_from_cache`.
  """
  @spec path(String.t(), keyword()) :: Path.t() | nil
  def path(name, options \\ [])

  def path(name, options) when is_binary(name) do
    CalledFunction.name("Mlx.Hub.path", fn ->
      {repository, settings} = settings(name, options, :"Hub.path")
      Cache.cached(settings, repository)
    end)
  end

  @doc """
  A path of what is there, or else the folder of the model that has this name.

  An existing path is returned as it is. A name is downloaded by `download/2`, and `owner/repository/file.gguf` by `file/3`.
  Raises `Mlx.Error` where a path that can be no name does not exist.

      iex> Mlx.Hub.resolve("mix.exs")
      "mix.exs"

      iex> Mlx.Hub.resolve("./model.gguf")
      ** (Mlx.Error) Mlx.Hub.resolve: cannot read ./model.gguf: no such file or folder
  """
  @spec resolve(Path.t(), keyword()) :: Path.t()
  def resolve(path_or_name, options \\ [])

  def resolve(path_or_name, options) when is_binary(path_or_name) or is_list(path_or_name) do
    text = FilePath.string!(path_or_name, :"Hub.resolve")

    CalledFunction.name("Mlx.Hub.resolve", fn ->
      Settings.new(options, :"Hub.resolve")
      if not String.contains?(text, "\0") and File.exists?(text), do: text, else: resolve_name(text, options)
    end)
  end

  defp resolve_name(text, options) do
    case name_and_path(text) do
      {name, nil} -> no_path(text, fn -> download(name, options) end)
      {name, path} -> file(name, path, Keyword.drop(options, [:files, :ignore]))
      nil -> raise Mlx.Error, "cannot read #{text}: no such file or folder"
    end
  end

  # Who mistypes a path gives what may be a name, too.
  defp no_path(text, fun) do
    fun.()
  rescue
    error in Mlx.Error ->
      message = "#{error.message}; no file or folder of this machine has the path #{text}"
      reraise %{error | message: message}, __STACKTRACE__
  end

  # Whoever names a file means one of this machine, unless it stands behind a repository. What begins with a folder of this
  # machine is a path.
  defp name_and_path(text) do
    {name, path} =
      case String.split(text, "/", parts: 3) do
        [owner, repository, path] -> {"#{owner}/#{repository}", path}
        _one_or_two -> {text, nil}
      end

    file? = path == nil and Path.extname(text) in [".gguf", ".safetensors", ".json"]
    here? = text |> String.split("/") |> hd() |> File.dir?()

    if not file? and not here? and match?({:ok, _, _}, Name.parse(name)) and (path == nil or Name.path?(path)),
      do: {name, path}
  end

  @doc """
  The models of the cache, sorted by their names.

  Each is a map of its `:name`, its `:folder`, its `:size` in bytes, when a file of it was `:last_used`, and its
  `:revisions`: maps of the `:commit`, the `:names` of the branches and tags that are this commit, the `:folder`, the number of
  `:files`, their `:size`, and when they were `:modified`. Takes the option `:cache`.

      iex> Mlx.Hub.models(cache: "/nowhere")
      []

  Python: `huggingface_hub.scan_cache_dir`.
  """
  @spec models(keyword()) :: [model()]
  def models(options \\ []) do
    CalledFunction.name("Mlx.Hub.models", fn ->
      options |> Settings.new(:"Hub.models") |> Inventory.repositories()
    end)
  end

  @doc """
  Deletes a model from the cache, or only one of its revisions where the name or `:revision` says one. Returns how many bytes
  are free again. Takes the option `:cache`, too.

      iex> Mlx.Hub.delete("mlx-community/Qwen3-0.6B-4bit", cache: "/nowhere")
      ** (Mlx.Error) Mlx.Hub.delete: mlx-community/Qwen3-0.6B-4bit is not in the cache /nowhere
  """
  @spec delete(String.t(), keyword()) :: non_neg_integer()
  def delete(name, options \\ [])

  def delete(name, options) when is_binary(name) do
    CalledFunction.name("Mlx.Hub.delete", fn ->
      {repository, settings} = settings(name, options, :"Hub.delete")
      one? = String.contains?(name, "@") or options[:revision] != nil

      freed =
        if one?, do: Inventory.delete_revision(settings, repository), else: Inventory.delete(settings, repository)

      freed || raise Mlx.Error, "#{name} is not in the cache #{settings.cache}"
    end)
  end

  defp settings(name, options, function) do
    {repository, revision} = Name.parse!(name)
    {repository, Settings.new(options, function, revision)}
  end
end
