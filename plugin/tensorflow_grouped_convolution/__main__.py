"""Runs a program with Keras patched or, without one, says whether all is well here.

Usage: python -m tensorflow_grouped_convolution [<file> | -m <module>] [<arguments>]
"""

import sys

if len(sys.argv) == 1:
    from .doctor import main

    sys.exit(main())
if sys.argv[1] in ("-h", "--help"):
    print(__doc__)
elif sys.argv[1:] == ["-m"] or sys.argv[1].startswith("-") and sys.argv[1] != "-m":
    sys.exit(__doc__)
else:
    from .run import run

    run(sys.argv[1:])
