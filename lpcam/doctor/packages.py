"""The packages: which versions, whether they can be imported, and which get in each other's way."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, requires
from importlib.util import find_spec
from typing import Any

import lpcam
from lpcam.doctor.diagnosis import BROKEN, DOUBTFUL, OK, Diagnosis, imported, version_of

_OTHERS = {  # module: distribution
    "PIL": "pillow",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
    "rich": "rich",
    "click": "click",
}
_EXTRAS = {  # extra: module, distribution, whether it is an extension that NumPy's version can break
    "timm": ("timm", "timm", False),
    "crf": ("pydensecrf", "pydensecrf2", True),
    "coco": ("pycocotools.mask", "pycocotools", True),
    "onnx": ("onnx", "onnx", False),
    "openvino": ("openvino", "openvino", False),
    "ray": ("ray", "ray", False),
}
_OF_OPENCV = (
    *("opencv-python", "opencv-python-headless"),
    *("opencv-contrib-python", "opencv-contrib-python-headless"),
)
_SYSTEM = {"libGL": "libgl1", "libgthread": "libglib2.0-0", "libSM": "libsm6", "libXext": "libxext6"}
"""Libraries that OpenCV wants of the system, and the packages of Debian and Ubuntu that have them."""


def of_packages() -> Iterator[Diagnosis]:
    """Look at everything that is imported."""
    versions = {"python": platform.python_version(), "lpcam": lpcam.__version__}
    found = f"Python {versions['python']}, lpcam {versions['lpcam']}, {platform.system()} {platform.machine()}"
    yield Diagnosis("Python", OK, found, facts=versions)
    yield _numpy()
    yield _torch()
    yield _torchvision()
    yield from _others()
    yield _faiss()
    yield _opencv()
    yield from _extras()


def _numpy() -> Diagnosis:
    module, why = imported("numpy")
    if module is None:
        return _missing("NumPy", "numpy", why)
    return Diagnosis("NumPy", OK, module.__version__, facts={"version": module.__version__})


def _torch() -> Diagnosis:
    torch: Any
    torch, why = imported("torch")
    if torch is None:
        return _missing("torch", "torch", why)
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    facts = {"version": torch.__version__, "cuda": torch.version.cuda}
    try:
        torch.zeros(1).numpy()
    except RuntimeError as error:
        return Diagnosis(
            "torch",
            BROKEN,
            f"{torch.__version__} cannot use NumPy {version_of('numpy')} ({error})",
            "pip install --upgrade torch, or pip install 'numpy<2'",
            facts,
        )
    return Diagnosis("torch", OK, f"{torch.__version__}, {build}", facts=facts)


def _torchvision() -> Diagnosis:
    module, why = imported("torchvision")
    own, wanted = version_of("torch"), _torch_of_torchvision()
    advice = "pip install --upgrade torch torchvision, both from the same index"
    if wanted and own and wanted != own.partition("+")[0]:
        found = f"{version_of('torchvision')} belongs to torch {wanted}, and torch is {own}"
        return Diagnosis("torchvision", BROKEN if module is None else DOUBTFUL, found, advice)
    if module is None:
        return _missing("torchvision", "torchvision", why, advice)
    return Diagnosis("torchvision", OK, str(module.__version__), facts={"version": str(module.__version__)})


def _torch_of_torchvision() -> str | None:
    """Return the one version of torch that the installed torchvision asks for, if it asks for one."""
    try:
        wanted = requires("torchvision") or []
    except PackageNotFoundError:
        return None
    exact = (re.match(r"torch\s*\(?==\s*([\w.]+)", line) for line in wanted)
    return next((match[1] for match in exact if match), None)


def _others() -> Iterator[Diagnosis]:
    there = {}
    for module, distribution in _OTHERS.items():
        found, why = imported(module)
        if found is None:
            yield _missing(distribution, distribution, why)
        else:
            there[distribution] = version_of(distribution) or "of unknown version"
    yield Diagnosis("libraries", OK, ", ".join(f"{name} {number}" for name, number in there.items()), facts=there)


def _faiss() -> Diagnosis:
    faiss: Any
    faiss, why = imported("faiss")
    installed = _installed(lambda name: name.startswith("faiss"))
    facts: dict[str, Any] = {"packages": installed, "variant": None}
    if len(installed) > 1:
        return _clash("FAISS", installed, faiss is not None, "faiss-gpu", facts)
    if faiss is None and not installed:
        return Diagnosis(
            "FAISS", OK, "not installed: the torch engine serves, --kmeans faiss cannot be used", "", facts
        )
    if faiss is None:
        advice = f"pip install --force-reinstall {_first(installed)}; the torch engine serves without it"
        return Diagnosis("FAISS", DOUBTFUL, f"{_named(installed)} cannot be imported ({why})", advice, facts)
    variant = "GPU" if hasattr(faiss, "StandardGpuResources") else "CPU"
    count = int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0
    package = _named(installed) or f"{faiss.__version__}, of no known package"
    facts |= {"variant": variant.lower(), "version": faiss.__version__, "gpus": count}
    return Diagnosis("FAISS", OK, f"{package}, {variant} build, sees {count} GPUs", facts=facts)


def _opencv() -> Diagnosis:
    cv2: Any
    cv2, why = imported("cv2")
    installed = _installed(lambda name: name in _OF_OPENCV)
    facts: dict[str, Any] = {"packages": installed}
    if len(installed) > 1:
        return _clash("OpenCV", installed, cv2 is not None, "opencv-python-headless", facts)
    if cv2 is not None:
        facts["version"] = cv2.__version__
        return Diagnosis("OpenCV", OK, _named(installed) or str(cv2.__version__), facts=facts)
    wanted = next((package for library, package in _SYSTEM.items() if library in why), None)
    only = "only the demo needs it"
    if wanted:
        advice = f"apt-get install {wanted}, or pip install opencv-python-headless in place of {_first(installed)}"
        return Diagnosis("OpenCV", DOUBTFUL, f"a library of the system is missing ({why}); {only}", advice, facts)
    advice = f"pip install --force-reinstall {_first(installed) or 'opencv-python-headless'}"
    return Diagnosis("OpenCV", DOUBTFUL, f"cannot be imported ({why}); {only}", advice, facts)


def _extras() -> Iterator[Diagnosis]:
    there: dict[str, str] = {}
    absent = []
    for extra, (module, distribution, is_extension) in _EXTRAS.items():
        if not _is_there(module.partition(".")[0]):
            absent.append(extra)
            continue
        found, why = imported(module) if is_extension else (True, "")
        if found is None:
            advice = f"pip install --force-reinstall --no-binary :all: {distribution}, or leave {extra} out"
            yield Diagnosis(extra, DOUBTFUL, f"{distribution} cannot be imported ({why})", advice)
        else:
            there[extra] = version_of(distribution) or "of unknown version"
    names = ", ".join(f"{extra} ({_EXTRAS[extra][1]} {number})" for extra, number in there.items()) or "none"
    missing = f"; not there: {', '.join(absent)} (pip install 'lpcam[{absent[0]}]')" if absent else ""
    yield Diagnosis("extras", OK, names + missing, facts={"there": there, "absent": absent})


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _missing(name: str, distribution: str, why: str, advice: str = "") -> Diagnosis:
    number = version_of(distribution)
    if number is None:
        return Diagnosis(name, BROKEN, f"not there ({why})", advice or f"pip install {distribution}")
    again = f"pip install --force-reinstall {distribution}"
    if "numpy" in why.lower():
        again += ", or pip install 'numpy<2': it was built for another NumPy"
    return Diagnosis(name, BROKEN, f"{number} cannot be imported ({why})", advice or again)


def _clash(name: str, installed: dict[str, str], works: bool, one: str, facts: dict[str, Any]) -> Diagnosis:
    """Say that several packages own the same folder: whichever was installed last has overwritten the others."""
    found = f"{_named(installed)} overwrite each other" + ("" if works else ", and cannot be imported")
    advice = f"pip uninstall {' '.join(installed)}, then pip install {one}"
    return Diagnosis(name, DOUBTFUL if works else BROKEN, found, advice, facts)


def _installed(is_one: Any) -> dict[str, str]:
    """Return the installed distributions of some names, by name, with versions."""
    names = ((str(entry.metadata["Name"] or "").lower().replace("_", "-"), entry.version) for entry in distributions())
    return dict(sorted((name, number) for name, number in names if is_one(name)))


def _named(installed: dict[str, str]) -> str:
    return " and ".join(f"{name} {number}" for name, number in installed.items())


def _first(installed: dict[str, str]) -> str:
    return next(iter(installed), "")
