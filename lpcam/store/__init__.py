"""The feature store: local features and the CAM that splits them, in safetensors shards, manifest last.

A shard holds a run of photos: ``features`` [M, C] in the store's dtype, a row for every grid position, photos one
after the other; ``cam`` float32, for every photo K·h·w values. What lies where is in the shard's own header, so a
store that was interrupted is continued from its whole shards alone.
"""

from __future__ import annotations

from lpcam.store.description import DTYPES, SCHEMA, Description
from lpcam.store.features import Described, Features, Kind, MemoryFeatures, PhotoFeatures
from lpcam.store.manifest import CLASS_WEIGHTS, MANIFEST, Manifest, clear, read_manifest, write_manifest
from lpcam.store.reading import FeatureStore, is_complete
from lpcam.store.shards import (
    StoredPhoto,
    holds_other,
    require_shard,
    shard_files,
    shard_header,
    shard_is_complete,
    shard_is_written,
    shard_name,
    write_shard,
)

__all__ = [
    "CLASS_WEIGHTS",
    "DTYPES",
    "MANIFEST",
    "SCHEMA",
    "Described",
    "Description",
    "FeatureStore",
    "Features",
    "Kind",
    "Manifest",
    "MemoryFeatures",
    "PhotoFeatures",
    "StoredPhoto",
    "clear",
    "holds_other",
    "is_complete",
    "read_manifest",
    "require_shard",
    "shard_files",
    "shard_header",
    "shard_is_complete",
    "shard_is_written",
    "shard_name",
    "write_manifest",
    "write_shard",
]
