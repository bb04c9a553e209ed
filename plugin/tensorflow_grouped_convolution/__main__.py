"""Runs a program with Keras patched or, without one, says whether all is well here.

Usage: python -m tensorflow_grouped_convolution
       python -m tensorflow_grouped_convolution [--batch-normalization] \
           (<file> | -m <module>) [<arguments>]

With --batch-normalization, Keras 3 normalizes batches with the one op that TensorFlow has
for it: patch_keras(batch_normalization=True).
"""

import sys

arguments = sys.argv[1:]
if not arguments:
    from .doctor import main

    sys.exit(main())
batch_normalization = arguments[0] == "--batch-normalization"
if batch_normalization:
    del arguments[0]
if arguments[:1] in (["-h"], ["--help"]):
    print(__doc__)
elif arguments in ([], ["-m"]) or arguments[0].startswith("-") and arguments[0] != "-m":
    sys.exit(__doc__)
else:
    from .run import run

    run(arguments, batch_normalization=batch_normalization)
