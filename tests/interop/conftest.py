from tests.network.conftest import between

__all__ = ["between"]
