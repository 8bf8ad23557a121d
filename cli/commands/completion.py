"""``lpcam completion``."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from ..helping import Command

_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
def command(shell: str) -> None:
    """Print what lets a shell complete commands, options and values.

    Methods, refiners, data sets, architectures, profiles and the like are completed too.

    \b
    Example:
      lpcam completion bash
      lpcam completion zsh
      lpcam completion fish

    Once for this shell: source <(lpcam completion bash). For every new one, add it to a file that the shell reads:

    \b
      lpcam completion bash >> ~/.bashrc
      lpcam completion zsh  >> ~/.zshrc      (after compinit)
      lpcam completion fish > ~/.config/fish/completions/lpcam.fish
    """
    from ..main import main

    made = _SHELLS[shell](main, {}, "lpcam", "_LPCAM_COMPLETE")
    click.echo(made.source_template % made.source_vars())
