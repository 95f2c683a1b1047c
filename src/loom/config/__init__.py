"""The settings: each declared once, and where its value comes from. `Settings` is public.

Flags, variables, file keys, help and documentation derive from the models. Knows nothing of what the settings
do. Uses pydantic rather than pydantic-settings, which forgets where a value came from, ignores unknown
variables and reads lists from the environment as JSON only.
"""

from loom.config.entries import TokenEntry
from loom.config.settings import Settings
from loom.config.sources import default, description, flag, load, metavar, variable

__all__ = ["Settings", "TokenEntry", "default", "description", "flag", "load", "metavar", "variable"]
