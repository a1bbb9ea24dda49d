"""Objects of the server, known by a number."""

from ._connection import connection
from ._terms import Tagged


class Handle:
    def __init__(self, id):
        self._id = id

    def _term(self):
        return Tagged(self.TAG, self._id)

    def __del__(self):
        connection.release(self._id)
