from tests.http.conftest import lines, loom, serve, store_kind
from tests.network.conftest import between

__all__ = ["between", "lines", "loom", "serve", "store_kind"]
