defmodule Mlx.LM.ChatTemplate.Sources do
  @moduledoc false
  # The chat templates in the files of a model's folder, by name.

  alias Mlx.LM.Tokenizer.{Fields, Folder}

  @default "default"

  @doc "The templates of a folder. Files of their own come before those in JSON files."
  @spec of(String.t()) :: %{String.t() => String.t()}
  def of(path) do
    ["tokenizer_config.json", "chat_template.json"]
    |> Enum.reduce(%{}, &Map.merge(&2, in_json(path, &1)))
    |> Map.merge(additional(path))
    |> Map.merge(in_file(Path.join(path, "chat_template.jinja"), @default))
  end

  defp in_json(path, name) do
    case Folder.read(path, name) do
      %{"chat_template" => source} when is_binary(source) -> %{@default => source}
      %{"chat_template" => templates} when is_list(templates) -> named(templates, "#{name}, chat_template")
      %{"chat_template" => %{} = templates} -> Map.new(templates, &check(&1, "#{name}, chat_template"))
      _none -> %{}
    end
  end

  defp named(templates, place) do
    templates
    |> Fields.each(place, fn template, place ->
      template = Fields.check(template, :object, place)
      {Fields.get(template, "name", :string, place), Fields.get(template, "template", :string, place)}
    end)
    |> Map.new()
  end

  defp check({name, source}, place), do: {name, Fields.check(source, :string, "#{place}.#{name}")}

  defp additional(path) do
    for file <- Path.wildcard(Path.join([path, "additional_chat_templates", "*.jinja"])),
        template <- in_file(file, Path.basename(file, ".jinja")),
        into: %{},
        do: template
  end

  defp in_file(file, name) do
    case File.read(file) do
      {:ok, source} -> %{name => source}
      {:error, reason} when reason in [:enoent, :enotdir] -> %{}
      {:error, reason} -> raise Mlx.Error, message: "#{file} cannot be read: #{:file.format_error(reason)}"
    end
  end
end
