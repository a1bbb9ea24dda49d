"""The Elixir process that computes, and the calls that go to it.

Requests and replies are terms (see `_terms`) with their length in front. While Elixir runs a call it may ask for a call of
a Python function, which may call Elixir in turn, so that both sides answer requests until their own reply comes.

    {call, Name, Arguments, Options, Released}    ->  {ok, Value} | {error, Kind, Message} | {function, Id, Arguments, Keywords}
    {enter, Name, Arguments, Released}            ->  the same; what follows runs inside of a context, until `leave`
    {leave, Released}                             ->  {ok, nil}
    {return, Value} | {raise, Id}                 the reply to {function, Id, Arguments, Keywords}

`Released` are the ids of the objects that Python dropped since the last request.
"""

import builtins
import os
import struct
import subprocess
import threading
import weakref

from . import _terms
from ._terms import Tagged

BUILDERS = {
    "tuple": tuple,
    "instance": _terms.instance,
    "complex": complex,
    "text": lambda text: text.decode(),
    "ok": lambda value: ("ok", value),
    "error": lambda kind, message: ("error", (kind, message)),
    "raised": lambda id: ("raised", id),
    "function": lambda id, arguments, keywords: ("function", (id, arguments, keywords)),
}


class Connection:
    """A server, given by its command line in the environment variable MLX_CONFORMANCE_SERVER."""

    def __init__(self):
        request_end, self.output = os.pipe()
        self.input, reply_end = os.pipe()
        command = os.environ["MLX_CONFORMANCE_SERVER"].split("\n")
        self.process = subprocess.Popen(
            command + [str(request_end), str(reply_end)], pass_fds=(request_end, reply_end), stdin=subprocess.DEVNULL
        )
        os.close(request_end)
        os.close(reply_end)
        self.stream = os.fdopen(self.input, "rb")
        self.lock = threading.RLock()
        self.released = []
        # A function lives as long as a request that it is in, or what Elixir made of it.
        self.functions = weakref.WeakValueDictionary()
        self.raised = {}

    def call(self, name, arguments, options):
        """What the Elixir counterpart of a Python function returns."""
        with self.lock:
            return self.request("call", name, list(arguments), options)

    def enter(self, name, arguments):
        with self.lock:
            return self.request("enter", name, list(arguments))

    def leave(self):
        with self.lock:
            return self.request("leave")

    def release(self, id):
        """Tells the server with the next request that an object is not used any more."""
        self.released.append(id)

    def request(self, *fields):
        released, self.released = self.released, []
        self.write(Tagged(*fields, released))
        while True:
            kind, value = self.read()
            if kind == "ok":
                return value
            if kind == "error":
                raise exception(*value)
            if kind == "raised":
                raise self.raised.pop(value)
            self.write(self.answer(*value))

    def answer(self, id, arguments, keywords):
        try:
            return Tagged("return", self.functions[id](*arguments, **keywords))
        except Exception as error:
            self.raised[builtins.id(error)] = error
            return Tagged("raise", builtins.id(error))

    def write(self, term):
        message = _terms.encode(term)
        try:
            write_all(self.output, struct.pack(">I", len(message)) + message)
        except BrokenPipeError:
            self.gone()

    def read(self):
        header = self.stream.read(4)
        if len(header) < 4:
            self.gone()
        return _terms.Reader(self.stream.read(struct.unpack(">I", header)[0]), BUILDERS).read()

    def gone(self):
        """Nothing can go on without the server, so this process ends with it."""
        print(f"the Elixir process ended (exit status {self.process.wait()})", flush=True)
        os._exit(1)

    def reference(self, function):
        """A function for Elixir to call, which may be of a class of containers."""
        if not callable(function):
            raise TypeError(f"expected a function, got an object of the type {type(function).__name__}")
        self.functions[id(function)] = function
        return Tagged("function", id(function))

    def put_function(self, out, function):
        _terms.put_tagged(out, self.reference(function))


def write_all(descriptor, data):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def exception(kind, message):
    return getattr(builtins, kind)(message.decode())


connection = Connection()
_terms.CALLABLE_WRITER[0] = connection.put_function
