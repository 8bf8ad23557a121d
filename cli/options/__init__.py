"""Options that several commands share, a file a noun. A default that the library owns is None and is not passed on."""

from __future__ import annotations

from .classifier import classifier_options, dtype_option, scales_option, take_classifier_source
from .clustering import (
    discriminant_options,
    profile_options,
    refuse_strangers,
    take_discriminants,
    take_profile,
    take_support,
)
from .data import data_options, spell_data_source, take_data_source
from .declaring import FILE, LIST, names, options_under, stacked
from .methods import (
    awareness_options,
    method_options,
    methods_option,
    propagation_options,
    take_awareness,
    take_settings,
)
from .placement import (
    device_option,
    execution_options,
    idle_device_option,
    placement_options,
    spread_option,
    take_execution,
    take_placement,
)
from .run import (
    folder,
    idle_seed_option,
    json_option,
    output_options,
    overwrite_option,
    seed_option,
    workspace_option,
)
from .seeds import part_options, refiner_option, take_parts
from .taking import given, take

__all__ = [
    "FILE",
    "LIST",
    "awareness_options",
    "classifier_options",
    "data_options",
    "device_option",
    "discriminant_options",
    "dtype_option",
    "execution_options",
    "folder",
    "given",
    "idle_device_option",
    "idle_seed_option",
    "json_option",
    "method_options",
    "methods_option",
    "names",
    "options_under",
    "output_options",
    "overwrite_option",
    "part_options",
    "placement_options",
    "profile_options",
    "propagation_options",
    "refiner_option",
    "refuse_strangers",
    "scales_option",
    "seed_option",
    "spell_data_source",
    "spread_option",
    "stacked",
    "take",
    "take_awareness",
    "take_classifier_source",
    "take_data_source",
    "take_discriminants",
    "take_execution",
    "take_parts",
    "take_placement",
    "take_profile",
    "take_settings",
    "take_support",
    "workspace_option",
]
