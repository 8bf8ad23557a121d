"""LPCAM in place of the classes of other libraries, which need not be installed."""
