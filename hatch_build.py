"""Builds ``rowgate.pgwire.compiled`` where a C compiler is at hand; without one the package is pure Python and works.

Hatchling calls it for wheels and for editable installations. A wheel gets the outcome as a file of its own; for an
editable installation it is put beside its source. ``ROWGATE_BUILD=pure`` leaves it out. Never fails a build.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = "rowgate.pgwire.compiled"
SOURCE = Path("src/rowgate/pgwire/compiled.pyx")


class CompiledModule(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and says where the outcome belongs. ``version`` is "editable" or "standard"."""
        if self.target_name != "wheel":
            return
        library = self._library()
        if version == "editable":
            self._put_beside_source(library)
        elif library is not None:
            build_data["force_include"][str(library)] = str(SOURCE.relative_to("src").with_name(library.name))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def _library(self) -> Path | None:
        if os.environ.get("ROWGATE_BUILD") == "pure":
            return None
        try:
            return _compile(Path(self.root))
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # setuptools ends with SystemExit where a compiler fails
            print(f"rowgate: without the compiled module, which is slower: {problem}", file=sys.stderr)
            return None

    def _put_beside_source(self, library: Path | None) -> None:
        folder = (Path(self.root) / SOURCE).parent
        for other in folder.glob("compiled.*.so"):
            if library is None or other.name == library.name:
                other.unlink()  # never written over: a running process has it mapped
        if library is not None:
            shutil.copy(library, folder / library.name)


def _compile(root: Path) -> Path:
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    before = Path.cwd()
    os.chdir(root)  # both take paths as relative to where they run
    try:
        work = root / "build" / "compiled" / f"{sys.implementation.cache_tag}-{os.getpid()}"
        extension = Extension(MODULE, [str(SOURCE)], extra_compile_args=["-O3"])
        modules = cythonize([extension], build_dir=str(work), quiet=True)
        command = build_ext(Distribution({"name": "rowgate", "ext_modules": modules}))
        command.build_temp = command.build_lib = str(work)
        command.ensure_finalized()
        command.run()
        return Path(command.get_ext_fullpath(MODULE)).resolve()
    finally:
        os.chdir(before)
