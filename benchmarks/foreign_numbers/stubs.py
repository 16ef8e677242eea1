"""Stubs for packages that a tool imports but its networks do not need."""

from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from unittest.mock import MagicMock


class Stubs(MetaPathFinder, Loader):
    """Stands in for packages that are not installed and that a tool imports but does not need for its networks."""

    PACKAGES = ("cv2", "detectron2", "fairscale", "pandas", "scipy", "sklearn", "timm", "decord", "librosa")

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.PACKAGES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__version__ = spec, [], "99"
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass
