"""The command line of lpcam: a command parses, makes one library call and renders its report."""
