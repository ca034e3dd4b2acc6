"""What is installed: the wheel's content and metadata, and what `import httpserve` loads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import httpserve
from tests.server.wire import unmeasured

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "docs/httpserve.1", "httpserve"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, with the backend that pyproject.toml names."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (copy / name).parent.mkdir(exist_ok=True)
            shutil.copy(source, copy / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> metadata.Distribution:
    """Unpack the wheel, which is how a pure one is installed."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (distribution,) = metadata.distributions(path=[str(folder)])
    return distribution


def modules_loaded_by(statement: str) -> set[str]:
    script = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, cwd=REPOSITORY, env=unmeasured(), check=True, capture_output=True, text=True)
    return set(json.loads(loaded.stdout))


def test_wheel_is_pure_python(wheel: Path) -> None:
    assert wheel.name == f"httpserve-{httpserve.__version__}-py3-none-any.whl"


def test_wheel_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    package = REPOSITORY / "httpserve"
    expected = {f"httpserve/{file.relative_to(package).as_posix()}" for file in package.rglob("*.py")}

    with zipfile.ZipFile(wheel) as archive:
        content = {name for name in archive.namelist() if ".dist-info/" not in name}

    man_page = f"httpserve-{httpserve.__version__}.data/data/share/man/man1/httpserve.1"
    assert content == expected | {"httpserve/py.typed", man_page}


def test_wheel_holds_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/LICENSE")]

    assert len(names) == 1


def test_metadata_names_the_python_and_the_license(installed: metadata.Distribution) -> None:
    described = installed.metadata

    assert described["Name"] == "httpserve"
    assert described["Requires-Python"] == ">=3.11"
    fields = [described[field] for field in ("License", "License-Expression") if field in described]
    assert fields == ["Apache-2.0"]


def test_runtime_needs_three_packages_with_lower_bounds_only(installed: metadata.Distribution) -> None:
    required = [line for line in installed.requires or [] if "extra ==" not in line]

    assert sorted(line.split(">=")[0] for line in required) == ["opendal", "requests", "werkzeug"]
    assert "opendal>=0.47.9" in required
    assert not [line for line in required if any(sign in line for sign in "<,~!")]


def test_progress_is_an_extra(installed: metadata.Distribution) -> None:
    required = [line for line in installed.requires or [] if line.endswith('extra == "progress"')]

    assert [line.split(">=")[0] for line in required] == ["tqdm"]


def test_notebook_is_an_extra(installed: metadata.Distribution) -> None:
    required = [line for line in installed.requires or [] if line.endswith('extra == "notebook"')]

    assert sorted(line.split(">=")[0] for line in required) == ["ipywidgets", "tqdm"]


def test_entry_point_is_the_command_line(installed: metadata.Distribution) -> None:
    (script,) = installed.entry_points.select(group="console_scripts")

    assert (script.name, script.value) == ("httpserve", "httpserve.cli.main:main")


def test_pytest_finds_the_plugin(installed: metadata.Distribution) -> None:
    (plugin,) = installed.entry_points.select(group="pytest11")

    assert (plugin.name, plugin.value) == ("httpserve", "httpserve.pytest_plugin")


def test_version_of_the_metadata_is_that_of_the_module(installed: metadata.Distribution) -> None:
    assert installed.version == httpserve.__version__


def test_every_public_name_is_there() -> None:
    missing = [name for name in httpserve.__all__ if not hasattr(httpserve, name)]

    assert not missing
    assert len(set(httpserve.__all__)) == len(httpserve.__all__)


def test_every_error_is_public() -> None:
    from httpserve import errors

    ours = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert ours <= set(httpserve.__all__)


@pytest.fixture(scope="module")
def loaded_by_import() -> set[str]:
    """Return what the client loads besides what opendal and werkzeug load by themselves."""
    theirs = modules_loaded_by("import opendal, werkzeug.serving")
    return modules_loaded_by("import opendal, werkzeug.serving; from httpserve import HttpServerClient") - theirs


@pytest.mark.parametrize(
    "module",
    [
        *("requests", "urllib3", "tqdm", "asyncio", "argparse", "IPython", "ipywidgets"),
        *(
            "httpserve.cli.main",
            "httpserve.storage.copying.url",
            "httpserve.notebook.live_table",
            "httpserve.notebook.reruns",
        ),
    ],
)
def test_import_leaves_for_first_use(module: str, loaded_by_import: set[str]) -> None:
    assert module not in loaded_by_import


def test_import_alone_loads_nothing_of_the_package() -> None:
    loaded = modules_loaded_by("import httpserve")

    ours = {name for name in loaded if name.startswith("httpserve")}
    assert ours == {"httpserve", "httpserve.base", "httpserve.base.lazy"}
    assert not loaded & {"opendal", "werkzeug", "logging", "typing"}  # each takes several times as long as all the rest


def test_each_public_name_is_what_its_module_defines() -> None:
    """Pickles and tracebacks name the module, so it must be there."""
    classes = {name: value for name in httpserve.__all__ if isinstance(value := getattr(httpserve, name), type)}

    assert "HttpServerClient" in classes
    for name, value in classes.items():
        assert getattr(sys.modules[value.__module__], name) is value


def test_unknown_name_is_no_attribute_and_says_so() -> None:
    script = "import httpserve; httpserve.HttpServer"

    failed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)

    assert "module 'httpserve' has no attribute 'HttpServer'. Did you mean" in failed.stderr


def test_names_can_be_listed_before_any_was_used() -> None:
    script = "import httpserve; print(sorted(set(httpserve.__all__) - set(dir(httpserve))))"
    starred = "from httpserve import *; print(HttpServerClient.__name__, NotFound.__name__)"

    for line, expected in ((script, "[]\n"), (starred, "HttpServerClient NotFound\n")):
        run = [sys.executable, "-W", "error", "-c", line]
        assert subprocess.run(run, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout == expected


def test_what_logs_has_no_handler_that_writes() -> None:
    logs = "logging.getLogger('httpserve.access').warning('seen')"
    script = f"import logging, httpserve; httpserve.HttpServerClient; {logs}; print('done')"

    quiet = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True, text=True)

    assert (quiet.stdout, quiet.stderr) == ("done\n", "")
