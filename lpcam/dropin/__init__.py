"""Drop-in modules: one changed line, and a repository's own script writes LPCAM seeds where its next step reads them.

    import lpcam.dropin.irn as make_cam     # was: import step.make_cam as make_cam
    make_cam.run(args)

Each module knows one repository: the names of its arguments, where its checkpoints lie, and which family of seeds it
reads. All of them do the same work (`lpcam.dropin.seeding`): the whole corridor, in a workspace beside the output
folder, resumable, on no, one or many GPUs. Each is a command too: ``python -m lpcam.dropin.psa --weights …``.
"""

from __future__ import annotations

REPOSITORIES = ("irn", "lpcam", "recam", "amn", "psa", "seam", "edam", "mctformer")
"""The modules of this package that stand for a repository; each has a ``REPOSITORY`` and a ``run(args)``."""
