"""The built wheel holds the whole package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

import kinema

ROOT = Path(__file__).resolve().parents[1]

# The peers' scripts are run by other toolboxes' Pythons: here they only need to be there.
IMPORT_ALL = """
import importlib, pathlib, pkgutil, kinema
assert pathlib.Path(kinema.__file__).is_relative_to(pathlib.Path.cwd()), kinema.__file__
names = {module.name for module in pkgutil.walk_packages(kinema.__path__, "kinema.")} - {"kinema.__main__"}
for name in names:
    if not name.startswith("kinema.benchmark.peers."):
        importlib.import_module(name)
print(*sorted(names), sep="\\n")
"""


def test_every_module_imports_from_the_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("kinema-*.whl")
    assert kinema.__version__ in wheel.name
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{IMPORT_ALL}"],
        cwd=site, check=True, capture_output=True, text=True,
    )  # fmt: skip
    sources = (path.relative_to(ROOT / "src").with_suffix("") for path in (ROOT / "src/kinema").rglob("*.py"))
    modules = {".".join(path.parts).removesuffix(".__init__") for path in sources}
    assert set(found.stdout.split()) == modules - {"kinema", "kinema.__main__"}
    tracked = subprocess.run(["git", "ls-files", "src/kinema"], cwd=ROOT, check=True, capture_output=True, text=True)
    data = {file.removeprefix("src/") for file in tracked.stdout.split("\n") if file and not file.endswith(".py")}
    assert {"kinema/py.typed", "kinema/weights/published/zoo.csv", "kinema/recipes/sizes.csv"} <= data
    assert [file for file in data if not (site / file).is_file()] == []
    ran = subprocess.run(
        [sys.executable, "-m", "kinema", "recipes", "x3d_s_13x6_kinetics400"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "3.79" in ran.stdout  # million parameters, as of the paper


def test_the_version_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    releases = re.findall(r"^## \[(\d.*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases[0] == (citation["version"], str(citation["date-released"]))
    assert citation["version"] == kinema.__version__
