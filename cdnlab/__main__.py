"""`python -m cdnlab`: the command line, after a look at the interpreter that any Python 3 can still read."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 — a checkout is run by whatever python3 there is
    sys.stderr.write("cdnlab: Python 3.11 or newer is needed, and {} is older\n".format(sys.executable))  # noqa: UP032
    sys.exit("  install it, then: make PYTHON=python3.11")

from cdnlab.lab.cli import main

main()
