"""doctor: every thing it looks at, well and ill; the size of a planned run against the files of a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main
from PIL import Image

from benchmarks.isolated import in_new_process, peak_growth
from lpcam import corridor
from lpcam.backbones import load_classifier, load_trunk
from lpcam.datasets import photo_size
from lpcam.doctor import BROKEN, DOUBTFUL, OK, Planned, disk, machine, packages, plan
from lpcam.doctor.diagnosis import Diagnosis
from lpcam.doctor.plan import Photos, feature_bytes, forward_bytes, network_bytes, seed_bytes
from lpcam.forward import Forward
from lpcam.generate import generate
from lpcam.methods.cam import Cam
from lpcam.profiles import get_profile
from lpcam.records import Execution, Photo
from lpcam.refiners import REFINERS, get_refiner
from lpcam.runtime.fused import fused_network
from lpcam.sources import DataSource
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace
from tests.conftest import make_voc

PROFILE = get_profile("voc", k=3, iterations=20)
BUILT_IN = {"Python", "NumPy", "torch", "torchvision", "libraries", "FAISS", "OpenCV", "extras"}
OF_MACHINE = {"processors", "memory", "open files", "GPUs", "disk", "writing"}


def by_name(found) -> dict[str, Diagnosis]:
    return {one.name: one for one in found}


def doctor(*arguments):
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)], catch_exceptions=False)


# ----------------------------------------------------------------------------------------- the command


def test_the_command_says_how_everything_is(tmp_path):
    answer = doctor("-w", tmp_path / "w", "--json")
    found = {one["name"]: one for one in json.loads(answer.stdout)["diagnoses"]}
    assert set(found) >= BUILT_IN | OF_MACHINE
    assert found["torch"]["facts"]["version"] == torch.__version__
    assert answer.exit_code == int(any(one["state"] == BROKEN for one in found.values()))
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_text_has_a_line_for_everything_and_quiet_only_for_what_is_not_well(tmp_path, monkeypatch):
    things = (
        Diagnosis("a", OK, "fine"),
        Diagnosis("b", DOUBTFUL, "odd", "look"),
        Diagnosis("c", BROKEN, "gone", "mend"),
    )
    monkeypatch.setattr("lpcam.doctor.examine", lambda planned: iter(things))
    answer = doctor("-w", tmp_path)
    assert answer.exit_code == 1
    assert answer.stdout.splitlines() == [
        "ok: a: fine",
        "doubtful: b: odd: look",
        "broken: c: gone: mend",
        "done: 3 things looked at, 1 doubtful, 1 broken",
    ]
    assert doctor("-q", "-w", tmp_path).stdout.splitlines()[0] == "doubtful: b: odd: look"


def blocked(modules: str, *arguments: object) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the command in a process that cannot import some modules."""
    code = _BLOCKED + f"main({['doctor', '--json', *map(str, arguments)]!r})"
    answer = subprocess.run([sys.executable, "-c", code, modules], capture_output=True, text=True, check=False)
    assert answer.stderr == ""
    return answer.returncode, {one["name"]: one for one in json.loads(answer.stdout)["diagnoses"]}


def test_without_torch_cv2_and_faiss_it_says_so_and_does_not_fail(voc_root, tmp_path):
    photos = ("-w", tmp_path / "w", "--dataset", "voc", "--root", voc_root)
    code, found = blocked("torch,torchvision,faiss", *photos)
    assert code == 1
    assert {name: one["state"] for name, one in found.items() if one["state"] != OK and name not in OF_MACHINE} == {
        "torch": BROKEN,
        "torchvision": BROKEN,
        "FAISS": DOUBTFUL,
        "OpenCV": DOUBTFUL,
        "planned run": DOUBTFUL,
    }
    assert "apt-get install libgl1" in found["OpenCV"]["advice"]
    assert "the torch engine serves" in found["FAISS"]["advice"]
    assert set(found) >= BUILT_IN | OF_MACHINE


def test_without_numpy_and_pillow_it_says_so_too(voc_root, tmp_path):
    code, found = blocked("numpy,PIL", "-w", tmp_path / "w", "--dataset", "voc", "--root", voc_root, "--arch", "demo")
    assert code == 1
    assert (found["NumPy"]["state"], found["pillow"]["state"], found["planned run"]["state"]) == (
        BROKEN,
        BROKEN,
        DOUBTFUL,
    )
    assert set(found) >= BUILT_IN | OF_MACHINE


_BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ImportError(f"no {name} here")
sys.meta_path.insert(0, Blocked())
from lpcam_cli.main import main
"""


# -------------------------------------------------------------------------------------------- packages


def with_packages(monkeypatch, **versions):
    entries = [SimpleNamespace(metadata={"Name": name.replace("_", "-")}, version=n) for name, n in versions.items()]
    monkeypatch.setattr(packages, "distributions", lambda: entries)


def with_modules(monkeypatch, **modules):
    """Let some modules be imported as given; a text is why one cannot be."""
    real = packages.imported

    def imported(name):
        if name not in modules:
            return real(name)
        return (None, modules[name]) if isinstance(modules[name], str) else (modules[name], "")

    for module in (packages, machine, plan):
        monkeypatch.setattr(module, "imported", imported)


@pytest.mark.parametrize(
    ("module", "versions", "state"),
    [
        (SimpleNamespace(__version__="1.9"), {"faiss_cpu": "1.9", "faiss_gpu": "1.15"}, DOUBTFUL),
        ("undefined symbol", {"faiss_cpu": "1.9", "faiss_gpu_cu12": "1.15"}, BROKEN),
    ],
)
def test_two_packages_of_faiss_overwrite_each_other(monkeypatch, module, versions, state):
    with_packages(monkeypatch, **versions)
    with_modules(monkeypatch, faiss=module)
    found = by_name(packages.of_packages())["FAISS"]
    assert found.state == state
    assert "overwrite each other" in found.found
    assert found.advice.startswith("pip uninstall faiss-cpu faiss-gpu")


def test_the_variant_of_faiss_is_told(monkeypatch):
    gpu = SimpleNamespace(__version__="1.15", StandardGpuResources=object, get_num_gpus=lambda: 3)
    with_packages(monkeypatch, faiss_gpu="1.15")
    with_modules(monkeypatch, faiss=gpu)
    assert by_name(packages.of_packages())["FAISS"].found == "faiss-gpu 1.15, GPU build, sees 3 GPUs"
    with_packages(monkeypatch, faiss_cpu="1.9")
    with_modules(monkeypatch, faiss=SimpleNamespace(__version__="1.9"))
    assert by_name(packages.of_packages())["FAISS"].found == "faiss-cpu 1.9, CPU build, sees 0 GPUs"
    with_packages(monkeypatch)
    with_modules(monkeypatch, faiss="No module named 'faiss'")
    absent = by_name(packages.of_packages())["FAISS"]
    assert (absent.state, "torch engine serves" in absent.found) == (OK, True)


def test_two_packages_of_opencv_overwrite_each_other(monkeypatch):
    with_packages(monkeypatch, opencv_python="5.0", opencv_python_headless="4.9")
    found = by_name(packages.of_packages())["OpenCV"]
    assert found.state == DOUBTFUL
    assert found.advice == "pip uninstall opencv-python opencv-python-headless, then pip install opencv-python-headless"


def test_torch_and_torchvision_that_do_not_belong_together(monkeypatch):
    monkeypatch.setattr(packages, "requires", lambda name: ["numpy", "torch (==2.1.0)"])
    found = by_name(packages.of_packages())["torchvision"]
    assert found.state == DOUBTFUL
    assert "belongs to torch 2.1.0" in found.found
    with_modules(monkeypatch, torchvision="operator torchvision::nms does not exist")
    assert by_name(packages.of_packages())["torchvision"].state == BROKEN


def test_extensions_built_for_another_numpy(monkeypatch):
    def no_numpy():
        raise RuntimeError("Numpy is not available")

    version = SimpleNamespace(cuda=None)
    other = SimpleNamespace(__version__="2.0", version=version, zeros=lambda _: SimpleNamespace(numpy=no_numpy))
    with_modules(monkeypatch, torch=other, scipy="numpy.core.multiarray failed to import", **{"pycocotools.mask": "no"})
    found = by_name(packages.of_packages())
    assert (found["torch"].state, found["scipy"].state) == (BROKEN, BROKEN)
    assert "'numpy<2'" in found["torch"].advice
    assert "'numpy<2'" in found["scipy"].advice
    assert "scipy" not in found["libraries"].facts


# --------------------------------------------------------------------------------------------- machine


def fake_torch(threads=1, **cuda):
    """A torch as far as the machine is concerned."""
    cuda = {"is_available": lambda: False, **cuda}
    version = SimpleNamespace(cuda=cuda.pop("built_for", "12.4"))
    return SimpleNamespace(get_num_threads=lambda: threads, version=version, cuda=SimpleNamespace(**cuda))


def test_a_container_limits_processors_and_memory(monkeypatch, tmp_path):
    group = Path("/proc/self/cgroup").read_text().partition("0::/")[2].splitlines()
    place = tmp_path / (group[0] if group else "")
    place.mkdir(parents=True, exist_ok=True)
    (place / "cpu.max").write_text("150000 100000\n")
    (place / "memory.max").write_text(f"{3 << 30}\n")
    (place / "memory.current").write_text(f"{2 << 30}\n")
    (place / "memory.stat").write_text(f"anon 5\ninactive_file {1 << 30}\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    with_modules(monkeypatch, torch=fake_torch(threads=64))
    processors = machine.processors()
    assert processors.state == DOUBTFUL
    assert "a quota of 1.5" in processors.found
    assert processors.advice.startswith("export OMP_NUM_THREADS=1")
    memory = machine.memory()
    assert memory.facts["limit_bytes"] == 3 << 30
    assert memory.facts["available_bytes"] == 2 << 30
    assert memory.state == DOUBTFUL
    (place / "memory.current").write_text(f"{4 << 30}\n")
    assert machine.memory().state == BROKEN


def test_a_machine_without_limits_is_well(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_meminfo", lambda: {"MemTotal": 64 << 30, "MemAvailable": 60 << 30})
    with_modules(monkeypatch, torch=fake_torch())
    assert (machine.processors().state, machine.memory().state) == (OK, OK)


def test_few_open_files_are_doubtful(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda kind: (256, 1 << 20))
    found = machine.open_files()
    assert (found.state, found.advice) == (DOUBTFUL, "ulimit -n 4096")


def test_gpus_are_named_with_their_memory(monkeypatch, tmp_path):
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\nGCC 12\n")
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "version")
    h200 = SimpleNamespace(name="NVIDIA H200", total_memory=150 * 10**9, major=9, minor=0)
    seen = {"is_available": lambda: True, "device_count": lambda: 2, "get_device_properties": lambda index: h200}
    with_modules(monkeypatch, torch=fake_torch(**seen))
    found = machine.gpus()
    each = "NVIDIA H200 (150.0 GB)"
    assert (found.state, found.found) == (OK, f"2: {each}, {each}; CUDA 12.4, driver 550.54.14")
    assert found.facts["gpus"][0]["capability"] == "9.0"


def test_a_driver_that_torch_cannot_use_is_doubtful(monkeypatch, tmp_path):
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.1  Thu\n")
    monkeypatch.setattr(machine, "_DRIVER", tmp_path / "version")
    with_modules(monkeypatch, torch=fake_torch(built_for=None))
    assert "built without CUDA" in machine.gpus().found
    with_modules(monkeypatch, torch=fake_torch(is_available=lambda: bool(warn("the driver is too old"))))
    found = machine.gpus()
    assert (found.state, "the driver is too old" in found.found) == (DOUBTFUL, True)


def warn(text):
    import warnings

    warnings.warn(text, stacklevel=1)


# ------------------------------------------------------------------------------------------------ disk


def test_the_file_system_of_a_workspace_that_is_not_there_yet(tmp_path):
    found = by_name(disk.of_disk(tmp_path / "a" / "b"))
    assert found["writing"].facts == {"atomic_renames": True, "locks": True}
    assert found["disk"].facts["free_bytes"] > 0
    assert found["disk"].facts["folder"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_or_renames(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refuse)
        assert by_name(disk.of_disk(tmp_path))["writing"].state == DOUBTFUL
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", lambda *_: None)  # locks that keep nobody out
        assert by_name(disk.of_disk(tmp_path))["writing"].state == DOUBTFUL
    monkeypatch.setattr(Path, "replace", refuse)
    assert by_name(disk.of_disk(tmp_path))["writing"].state == BROKEN


def test_a_folder_that_cannot_be_written_to_and_a_disk_that_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: (10_000_000, None))
    assert by_name(disk.of_disk(tmp_path))["disk"].state == DOUBTFUL
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = by_name(disk.of_disk(tmp_path))["writing"]
    assert (found.state, found.advice) == (BROKEN, "choose another --workspace")


# ------------------------------------------------------------------------------------------------ plan


@pytest.fixture
def larger(tmp_path) -> DataSource:
    """Photos of real sizes are large beside the headers of files; these are as small as that allows."""
    root = make_voc(tmp_path / "larger", [(96, 128), (128, 96), (96, 128), (110, 121), (97, 131), (140, 140)])
    return DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")


def looked_at(data: DataSource) -> Photos:
    photos = data.open().photos
    return Photos(len(photos), len(photos), [(photo, photo_size(photo.path)) for photo in photos])


def bytes_in(folder: Path, pattern: str) -> int:
    found = list(folder.glob(pattern))
    assert found
    return sum(path.stat().st_size for path in found)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_features_of_a_real_run_are_as_large_as_was_said(tmp_path, larger, classifier, dtype):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, larger, classifier, scales=(1.0, 0.5), dtype=dtype)
    written = bytes_in(workspace.features, "shard-*")
    assert feature_bytes("demo", None, dtype, looked_at(larger)) == pytest.approx(written, rel=0.03)


@pytest.mark.parametrize("refiner", sorted(REFINERS))
def test_the_seeds_of_a_real_run_are_as_large_as_was_said(tmp_path, larger, classifier, refiner):
    net = classifier.load(2, "cpu")
    family = get_refiner(refiner)
    sink = partial(family.write, tmp_path / "seeds")
    generate(larger.open().photos, Forward(net, (1.0,)), {"cam": Cam(net.class_weights)}, {"cam": sink})
    written = bytes_in(tmp_path / "seeds", f"*{family.suffix}")
    assert seed_bytes(refiner, looked_at(larger)) == pytest.approx(written, rel=0.05)


def test_a_long_list_is_looked_at_in_part(larger, monkeypatch):
    whole = looked_at(larger)
    monkeypatch.setattr(plan, "_MOST_HEADERS", 3)
    part = plan._look_at(larger.open())
    assert [photo.name for photo, _ in part.sized] == [whole.sized[index][0].name for index in (0, 2, 4)]
    assert part.weight == 2
    estimated, exact = (feature_bytes("demo", None, "float16", photos) for photos in (part, whole))
    assert estimated == pytest.approx(exact, rel=0.3)
    assert estimated > 0.7 * exact


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("arch", "size"), [("demo", (600, 800)), ("torchvision/mobilenet_v2", (375, 500)), ("resnet50", (188, 250))]
)
def test_the_memory_of_a_photo_is_about_what_was_said(tmp_path, arch, size):
    measured = in_new_process(peak_of_a_photo, folder=str(tmp_path), arch=arch, size=list(size))["bytes"]
    # Fused, a MobileNetV2 needs about half of what is said, which counts its norms and activations too.
    assert 0.5 < forward_bytes(arch, None, (1.0, 2.0), size, 2) / measured < 2.5


def peak_of_a_photo(folder: str, arch: str, size: list[int]) -> dict[str, int]:
    from lpcam.backbones.classifier import Classifier
    from lpcam.backbones.loading import _fill, _initial_tensors, untrained

    blueprint, channels = untrained(arch)
    _fill(blueprint, _initial_tensors(arch, blueprint, 0))
    net = Classifier(arch, blueprint, blueprint.stages[-1], blueprint.stride, torch.rand(2, channels), "0" * 64)
    path = Path(folder) / "a.png"
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
    forward, methods = Forward(net, (1.0, 2.0)), {"cam": Cam(net.class_weights)}
    generate((Photo("a", path, (0,)),), Forward(net, (0.1,)), methods, {"cam": lambda *_: None})  # what is loaded once
    call = lambda: generate((Photo("a", path, (0, 1)),), forward, methods, {"cam": lambda *_: None})  # noqa: E731
    return {"bytes": peak_growth(call)}


@pytest.mark.parametrize("arch", ["resnet50", "torchvision/resnet18"])
def test_the_memory_of_a_network_is_about_what_was_said(arch, tmp_path):
    trunk = load_trunk(arch, None)
    torch.save(trunk.checkpoint(torch.ones(2, trunk.channels)), tmp_path / "weights.pth")
    net = load_classifier(arch, tmp_path / "weights.pth")
    plain, fused = bytes_of(net), bytes_of(net, fused_network(net, "float32"))
    assert network_bytes(arch, None, fused=False) == pytest.approx(plain, rel=0.01)
    assert network_bytes(arch, None, fused=True) == pytest.approx(fused, rel=0.02)
    assert fused > 2 * plain


def bytes_of(*networks):
    """Return the bytes of all tensors that modules hold, each once."""
    held = [vars(module) for network in networks for module in network.modules()]
    values = [
        value for own in held for value in (*own.values(), *own["_parameters"].values(), *own["_buffers"].values())
    ]
    storages = {value.untyped_storage().data_ptr(): value.nbytes for value in values if isinstance(value, torch.Tensor)}
    return sum(storages.values())


def planned_run(monkeypatch, free, *arguments):
    monkeypatch.setattr(plan, "free_bytes", lambda folder: free)
    answer = doctor("--json", *arguments)
    found = {one["name"]: one for one in json.loads(answer.stdout)["diagnoses"]}
    return answer.exit_code, found


def test_a_run_that_does_not_fit_on_the_disk_is_broken(larger, tmp_path, monkeypatch):
    data = ("--dataset", "voc", "--root", larger.root, "--labels", larger.labels, "--classes", larger.classes)
    options = ("-w", tmp_path / "w", *data, "--arch", "demo", "--method", "cam,lpcam")
    expected = feature_bytes("demo", None, "float16", looked_at(larger)) + 2 * seed_bytes("irn", looked_at(larger))
    code, found = planned_run(monkeypatch, (int(expected) - 9, None), *options)
    assert (code, found["planned run"]["state"]) == (1, BROKEN)
    assert found["planned run"]["facts"]["left_bytes"] == pytest.approx(expected, abs=1)
    assert planned_run(monkeypatch, (int(expected * 1.05), None), *options)[1]["planned run"]["state"] == DOUBTFUL
    code, found = planned_run(monkeypatch, (int(expected * 2), None), *options)
    assert (found["planned run"]["state"], found["photos"]["state"]) == (OK, OK)
    code, found = planned_run(monkeypatch, (int(expected * 2), 11), *options)
    assert (code, found["planned run"]["state"]) == (1, BROKEN), "twelve files, and eleven can be made"


def test_a_photo_larger_than_the_memory_is_doubtful(larger, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_free_memory", lambda: (10_000_000, "memory"))
    data = ("--dataset", "voc", "--root", larger.root, "--labels", larger.labels, "--classes", larger.classes)
    found = planned_run(monkeypatch, (10**12, None), "-w", tmp_path / "w", *data, "--arch", "demo")[1]["largest photo"]
    assert found["state"] == DOUBTFUL
    assert found["facts"]["size"] == [140, 140]
    facts, (photo, size) = found["facts"], looked_at(larger).largest
    assert facts["network_bytes"] == network_bytes("demo", None, fused=True)
    alone = forward_bytes("demo", None, PUBLISHED_SCALES, size, len(photo.labels))
    assert facts["needed_bytes"] == facts["network_bytes"] + alone
    assert "leave out the largest of --scales" in found["advice"]
    monkeypatch.setattr(plan, "_free_memory", lambda: (10_000_000, "NVIDIA H200"))
    found = planned_run(monkeypatch, (10**12, None), "-w", tmp_path / "w", *data, "--arch", "demo")[1]["largest photo"]
    assert found["facts"]["network_bytes"] == network_bytes("demo", None, fused=False)


def test_a_workspace_says_its_own_photos_and_network(larger, classifier, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, larger, classifier, scales=(1.0, 0.5))
    corridor.cluster(workspace, profile=PROFILE)
    _, before = planned_run(monkeypatch, (10**12, None), "-w", workspace.root)
    assert list(before["planned run"]["facts"]["bytes"]) == ["seeds of lpcam for irn"], "the features are there"
    assert before["largest photo"]["facts"]["size"] == [140, 140]
    corridor.generate(workspace, execution=Execution(device="cpu"))
    _, after = planned_run(monkeypatch, (10**12, None), "-w", workspace.root)
    assert after["planned run"]["facts"]["left_bytes"] < 0.05 * before["planned run"]["facts"]["left_bytes"]


def test_another_split_of_the_workspaces_photos(larger, classifier, tmp_path, monkeypatch):
    (larger.root / "ImageSets/Segmentation/some.txt").write_text("2007_000001\n2007_000002\n")
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, larger, classifier, scales=(1.0, 0.5))
    _, found = planned_run(monkeypatch, (10**12, None), "-w", workspace.root, "--split", "some")
    assert found["photos"]["facts"]["photos"] == 2


def test_photos_that_cannot_be_read_are_named(larger, tmp_path, monkeypatch):
    (larger.root / "JPEGImages/2007_000001.jpg").write_bytes(b"")
    data = ("--dataset", "voc", "--root", larger.root, "--labels", larger.labels, "--classes", larger.classes)
    found = planned_run(monkeypatch, (10**12, None), "-w", tmp_path / "w", *data)[1]
    assert found["photos"]["state"] == DOUBTFUL
    assert found["photos"]["facts"]["unreadable"] == ["2007_000001"]
    assert "name the network by --arch" in found["planned run"]["found"]
    assert "largest photo" not in found


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--arch", "resnet5", "resnet50"), ("--dtype", "float8", "float16"), ("--refiner", "irm", "irn")],
)
def test_a_plan_that_cannot_be_is_one_line(larger, tmp_path, option, value, said):
    data = ("--dataset", "voc", "--root", larger.root, "--labels", larger.labels, "--classes", larger.classes)
    options = {"--arch": "demo", option: value}
    arguments = [word for pair in options.items() for word in pair]
    answer = doctor("-w", tmp_path / "w", *data, *arguments)
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("broken: planned run"))
    assert answer.exit_code == 1
    assert said in line


def test_nothing_is_planned_where_nobody_says_of_what(tmp_path):
    assert list(plan.of_plan(Planned(Workspace(tmp_path / "w")))) == []
