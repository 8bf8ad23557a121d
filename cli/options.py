"""Options that several commands share. A default that the library owns is None here and is not passed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lpcam.engines import Placement
from lpcam.errors import LpcamError
from lpcam.records import Execution
from lpcam.workspace import DEFAULT as DEFAULT_WORKSPACE
from lpcam.workspace import Workspace

Command = TypeVar("Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)


def stacked(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that applies several, so that --help lists their options in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _workspace(ctx: click.Context, param: click.Parameter, value: Path) -> Workspace:
    return Workspace(value)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(","))


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of numbers such as 1,.5,1.5,2", ctx, param) from None


def names_option(*flags: str, help: str) -> Callable[[Command], Command]:
    """Return an option that takes names separated by commas."""
    return click.option(*flags, metavar="A,B,…", callback=_names, help=help)


workspace_option = click.option(
    "-w",
    "--workspace",
    type=_FILE,
    default=DEFAULT_WORKSPACE,
    show_default=True,
    callback=_workspace,
    help="Folder of the run.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, logs on stderr, no progress."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what belongs to another run.")
seed_option = click.option("--seed", type=int, help="Of everything random. [default: 0]")
idle_seed_option = click.option(
    "--seed", type=int, expose_value=False, help="Nothing is random here; taken so that scripts may pass it everywhere."
)
idle_device_option = click.option(
    "--device", expose_value=False, help="This runs on the CPU; taken so that scripts may pass it everywhere."
)
scales_option = click.option("--scales", metavar="A,B,…", callback=_numbers, help="Of the views. [default: 1,.5,1.5,2]")
refiner_option = click.option(
    "--refiner", help="Family whose seed format is written or read, see docs/refiners.md. [default: irn]"
)
part_options = stacked(
    click.option("--crf", is_flag=True, default=None, help="Also write what the family makes with a dense CRF."),
    click.option("--saliency", type=_FILE, help="Folder of saliency maps: also write edam's labels."),
)
device_option = click.option("--device", help="auto, cpu, cuda or cuda:i. [default: auto]")

methods_option = names_option(
    "--method",
    "methods",
    help="lpcam, cam, class-prototypes, iscam (SIPE), pacam (CPAL) or fisher, or several: cam,lpcam. [default: lpcam]",
)


def awareness_options(prefix: str = "") -> Callable[[Command], Command]:
    """Return the options of how PACAM weighs its context; metric and top-K may have a prefix."""
    metric, top = f"--{prefix}metric", f"--{prefix}top"
    return stacked(
        click.option(
            metric, "metric", help="Of PACAM's positiveness: dot, cosine, euclidean or learned. [default: dot]"
        ),
        click.option(top, "top", type=int, help="Context prototypes that count for a photo. [default: 20]"),
        click.option("--no-bank", "bank", flag_value=False, default=None, help="PACAM without context prototypes."),
        click.option("--no-alignment", "alignment", flag_value=False, default=None, help="PACAM without the shift."),
        click.option(
            "--no-positiveness", "positiveness", flag_value=False, default=None, help="PACAM with equal weights."
        ),
    )


method_options = stacked(
    click.option("--iscam-from", help="What IS-CAM's seeds grow from: cam or lpcam. [default: cam]"),
    click.option("--iscam-background", type=float, help="Weight of the background in IS-CAM's seeds. [default: .5]"),
    click.option(
        "--iscam-labels-only",
        is_flag=True,
        default=None,
        help="Let no class compete for IS-CAM's seeds that is not in the photo.",
    ),
    click.option("--iscam-levels", type=int, help="Last levels of the network that IS-CAM compares. [default: 4]"),
    awareness_options("pacam-"),
)

propagation_options = stacked(
    click.option("--propagate", is_flag=True, default=None, help="Let the maps walk over positions that look alike."),
    click.option(
        "--propagate-neighbours",
        "neighbours",
        type=float,
        help="Share of the positions that look alike, which chooses the power. [default: .04]",
    ),
    click.option(
        "--propagate-power", "power", type=float, help="Power of the cosines, one for all photos. [by neighbours]"
    ),
    click.option(
        "--propagate-restart",
        "restart",
        type=float,
        help="Share of its start that a position keeps at a step, times classes². [default: .05]",
    ),
    click.option("--propagate-steps", "steps", type=int, help="Steps of the walk. [default: 30]"),
    click.option("--propagate-levels", "levels", type=int, help="Levels of the network that look. [default: 2]"),
    click.option(
        "--no-floor", "floor", flag_value=False, default=None, help="Leave its least value on a map that walked."
    ),
    click.option("--pamr", "edges", flag_value="pamr", help="Settle the maps on the photo's edges: --edges pamr."),
    click.option("--edges", help="The same by pamr, or by the dense CRF: crf. [default: none]"),
)

execution_options = stacked(
    device_option,
    click.option("--batch-size", type=int, help="Photos of one size that share a forward pass. [CPU 1, CUDA 8]"),
    click.option("--workers", type=int, help="Threads that read photos ahead. [CPU 1, CUDA up to 8]"),
    click.option("--precision", help="Of the forward passes: float32, bfloat16, float16 or auto. [default: float32]"),
    click.option("--runtime", help="What carries the network out: torch, compile or openvino. [default: torch]"),
    click.option("--compile", "runtime", flag_value="compile", help="The same as --runtime compile: torch.compile."),
)


def data_options(*, required: bool) -> Callable[[Command], Command]:
    """Return the options that name a split of a data set."""
    return stacked(
        click.option("--dataset", required=required, help="voc, coco, folder or demo; see docs/datasets.md."),
        click.option(
            "--root",
            type=_FILE,
            required=required,
            help="Folder of the data set: JPEGImages, annotations or photos are in it.",
        ),
        click.option("--split", help="Name of a list (train, val2014, all) or its path. [default: train]"),
        click.option("--labels", type=_FILE, help="Image-level labels: CSV (name,classes) or cls_labels.npy."),
        click.option("--classes", type=_FILE, help="File of class names, a name a line."),
        click.option("--masks", type=_FILE, help="Folder of true masks, <name>.png."),
    )


classifier_options = stacked(
    click.option(
        "--arch",
        required=True,
        help="resnet50 (IRN), resnet38d (PSA, SEAM, EDAM), mctformer, torchvision/NAME, timm/NAME, demo.",
    ),
    click.option("--weights", type=str, required=True, help="Checkpoint file, or 'imagenet'."),
    click.option("--stride", type=int, help="Output stride: 8, 16 or 32. [default: 16]"),
    click.option("--layer", help="Feature layer. [default: the last before pooling]"),
    click.option("--head", type=_FILE, help="Class weights [K, C] (npy, safetensors) in place of the checkpoint's."),
)


def placement_options(*, divided: bool) -> Callable[[Command], Command]:
    """Return the options that say where the work is done; --shard is shown where the stage can be divided by it."""
    return stacked(
        click.option("--engine", help="Where shards are done: local (processes) or ray. [default: this process]"),
        click.option("--processes", type=int, help="Workers. [one a GPU where --engine is given, else 1]"),
        click.option("--threads", type=int, help="CPU threads a process. [cores ÷ processes]"),
        click.option(
            "--shard",
            metavar="I/N",
            hidden=not divided,  # it is taken all the same: the refusal says what to do instead
            help="Do share I of N, such as 0/4; auto under Slurm's array or torchrun.",
        ),
        click.option("--ray-address", help="Of a running Ray cluster, such as auto. [start Ray here]"),
    )


dtype_option = click.option("--dtype", help="Of stored features: float16, bfloat16 or float32. [default: float16]")

profile_options = stacked(
    click.option("--profile", help="Published hyper-parameters: voc or coco. [default: voc]"),
    click.option("--k", type=int, help="Centres on each side of a class. [voc 12, coco 20]"),
    click.option("--tau", type=float, help="CAM threshold between object and rest. [voc .1, coco .25]"),
    click.option("--class-threshold", type=float, help="Least z of a class prototype. [.9]"),
    click.option("--context-low", type=float, help="z of a context prototype is above this. [voc .05, coco 0]"),
    click.option("--context-high", type=float, help="z of a context prototype is below this. [voc .9, coco .5]"),
    click.option("--filter", help="Of the centres: softmax (the paper's), rank, quantile or auto. [default: auto]"),
    click.option("--images-per-class", type=int, help="Images drawn for a class, 0 for all. [voc 0, coco 100]"),
    click.option("--draw", help="Draw them 'with' or 'without' replacement. [with]"),
    click.option("--restarts", type=int, help="k-means starts. [default: 1]"),
    click.option("--iterations", type=int, help="Most iterations of a start. [default: 100]"),
    click.option(
        "--relative-threshold",
        is_flag=True,
        default=None,
        help="--class-threshold is a share of the class's highest z.",
    ),
    click.option("--weigh-sizes", is_flag=True, default=None, help="Prototypes count by the sizes of their clusters."),
    click.option("--adaptive-k", is_flag=True, default=None, help="Halve K of a side while that costs little."),
)
discriminant_options = stacked(
    click.option("--own-tau", type=float, help="With --method fisher: τ of the passes after the first. [default: .1]"),
    click.option("--ridge", type=float, help="With --method fisher: λ, in mean variances. [default: 1]"),
    click.option("--passes", type=int, help="With --method fisher: times that positions are split. [default: 3]"),
)
_DISCRIMINANT_FIELDS = ("own_tau", "ridge", "passes")
_PROFILE_FIELDS = (
    "k",
    "tau",
    "class_threshold",
    "context_low",
    "context_high",
    "images_per_class",
    "draw",
    "restarts",
    "iterations",
    "filter",
    "relative_threshold",
    "weigh_sizes",
    "adaptive_k",
)


def given(**values: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def take(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Remove options by name and return those that were given."""
    return given(**{name: options.pop(name, None) for name in names})


def take_data_source(options: dict[str, Any]) -> Any:
    """Remove the data options; return their DataSource, or None where no data set was named.

    Raises:
        LpcamError: only one of --dataset and --root was given.
    """
    from lpcam.sources import DataSource

    named = take(options, "dataset", "root", "labels", "classes", "masks")
    if not named:
        return None
    if "dataset" not in named or "root" not in named:
        raise LpcamError("other photos need both --dataset and --root: give both or neither")
    return DataSource(**named, **take(options, "split"))


def take_classifier_source(options: dict[str, Any]) -> Any:
    """Remove the classifier options and return their ClassifierSource."""
    from lpcam.sources import ClassifierSource

    return ClassifierSource(**take(options, "arch", "weights", "stride", "layer", "head"))


def take_parts(options: dict[str, Any]) -> Any:
    """Remove the options of what lies beside the seeds and return them."""
    from lpcam.refiners.parts import PartOptions

    return PartOptions(**take(options, "crf", "saliency"))


def take_settings(options: dict[str, Any]) -> Any:
    """Remove the method options and return the MethodSettings."""
    from lpcam.corridor import MethodSettings

    own = take(options, "iscam_from", "iscam_background", "iscam_labels_only", "iscam_levels")
    return MethodSettings(**own, pacam=take_awareness(options), propagation=take_propagation(options))


def take_propagation(options: dict[str, Any]) -> Any:
    """Remove the options of the walk and the edges and return the Propagation.

    Raises:
        LpcamError: one cannot be used, or says how to walk where nothing walks.
    """
    from lpcam.propagation import Propagation, Walk

    walks, own = options.pop("propagate"), take(options, "neighbours", "power", "restart", "steps", "levels", "floor")
    if own and not walks:
        name = next(iter(own))
        option = "no-floor" if name == "floor" else f"propagate-{name}"
        raise LpcamError(f"--{option} does nothing without --propagate: add it, or leave --{option} out")
    return Propagation(Walk(**own) if walks else None, **take(options, "edges"))


def take_awareness(options: dict[str, Any]) -> Any:
    """Remove the options of how PACAM weighs its context and return the Awareness.

    Raises:
        LpcamError: one cannot be used.
    """
    from lpcam.methods.pacam import Awareness

    try:
        return Awareness(**take(options, "metric", "top", "bank", "alignment", "positiveness"))
    except ValueError as error:
        raise LpcamError(f"the metric or the top-K of PACAM cannot be used: {error}") from error


def take_execution(options: dict[str, Any]) -> Execution:
    """Remove the execution options and return them."""
    return Execution(**take(options, "device", "batch_size", "workers", "precision", "runtime"))


def take_placement(options: dict[str, Any]) -> Placement:
    """Remove the placement options and return them."""
    return Placement(**take(options, "engine", "processes", "threads", "shard", "ray_address"))


def take_support(options: dict[str, Any]) -> Any:
    """Remove the options of PACAM's context and return the SupportProfile.

    Raises:
        LpcamError: an option was given that only another method knows.
    """
    from lpcam.support import SupportProfile

    own = {**take(options, "k", "tau", "restarts", "iterations"), **given(bank=options.pop("bank_size"))}
    _refuse_others(options, "pacam", *_DISCRIMINANT_FIELDS)
    return SupportProfile(**own)


def take_discriminants(options: dict[str, Any]) -> Any:
    """Remove the options of Fisher's discriminants and return the FisherProfile.

    Raises:
        LpcamError: an option was given that only another method knows.
    """
    from lpcam.discriminants import FisherProfile

    own = take(options, "tau", *_DISCRIMINANT_FIELDS)
    options.pop("seed")  # nothing is random
    _refuse_others(options, "fisher", "bank_size", "kmeans")
    return FisherProfile(**own)


def take_profile(options: dict[str, Any]) -> Any:
    """Remove the profile options and return the Profile."""
    from lpcam.profiles import get_profile

    name = take(options, "profile")
    return get_profile(*name.values(), **take(options, *_PROFILE_FIELDS))


def refuse_strangers(options: dict[str, Any]) -> None:
    """Remove what only the clustering of other methods than LPCAM knows.

    Raises:
        LpcamError: it was given.
    """
    if take(options, "bank_size"):
        raise LpcamError("--bank-size needs --method pacam: add it, or leave the option out")
    others = take(options, *_DISCRIMINANT_FIELDS)
    if others:
        raise LpcamError(f"--{_spelled(others)} needs --method fisher: add it, or leave the option out")


def _refuse_others(options: dict[str, Any], method: str, *further: str) -> None:
    others = take(options, "profile", *_PROFILE_FIELDS, *further)
    if others:
        raise LpcamError(f"--{_spelled(others)} does nothing with --method {method}: leave it out")


def _spelled(options: dict[str, Any]) -> str:
    return next(iter(options)).replace("_", "-")
