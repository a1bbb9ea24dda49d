"""Functions in files, and descriptions of functions and graphs."""

from ._connection import connection


def export_function(file_or_callback, fun, *arguments, **options):
    return connection.call(
        "mlx.core.export_function", [file_or_callback, connection.reference(fun), *arguments], options
    )


class FunctionExporter:
    """Collects calls of a function. Elixir writes them all at once, when the exporter is closed."""

    def __init__(self, file, fun, options):
        self.file = file
        self.fun = fun
        self.options = options
        self.calls = []
        self.closed = False

    def __call__(self, *arguments, **keywords):
        if self.closed:
            raise RuntimeError("[export_function] The exporter is closed.")
        self.calls.append((list(arguments), keywords))

    def close(self):
        if not self.closed:
            connection.call("mlx.core.exporter", [self.file, connection.reference(self.fun), self.calls], self.options)
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()


def exporter(file, fun, **options):
    return FunctionExporter(file, fun, options)


def export_to_dot(file, *arrays, **named):
    """Elixir returns the text, which is written here."""
    text = connection.call("mlx.core.export_to_dot", arrays, named)
    if hasattr(file, "write"):
        file.write(text)
        return
    with open(file, "w") as opened:
        opened.write(text)
