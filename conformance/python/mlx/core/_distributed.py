"""Groups of processes."""

from ._connection import BUILDERS, connection
from ._handle import Handle


class Group(Handle):
    TAG = "group"

    def rank(self):
        return connection.call("mlx.core.distributed.Group.rank", [self], {})

    def size(self):
        return connection.call("mlx.core.distributed.Group.size", [self], {})

    def split(self, color, key=-1):
        return connection.call("mlx.core.distributed.Group.split", [self, color, key], {})


BUILDERS["group"] = Group
