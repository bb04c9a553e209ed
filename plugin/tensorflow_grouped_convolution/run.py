"""Runs a program with Keras patched, and otherwise as Python runs it."""

import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
import types
import zipfile

from .keras_patches import patch_keras


def run(arguments, **options):
    """Runs a program in the place of the one that runs.

    Args:
      arguments: what Python would be given: a file, or "-m" and a module's name, and the
        program's own arguments.
      **options: of patch_keras().
    """
    patch_keras(**options)
    try:
        if arguments[0] == "-m":
            _run_module(arguments[1:])
        else:
            _run_path(arguments)
    except BaseException:
        _show_program_alone(sys.excepthook)
        raise


def _show_program_alone(hook):
    """Has what shows an error show the part of its traceback that is the program's."""

    def show(kind, error, traceback):
        own = _of_program(traceback)
        hook(kind, error.with_traceback(own), own)

    sys.excepthook = show


def _of_program(traceback):
    """Returns the part of a traceback behind this module, if there is one."""
    entry = own = traceback
    while entry is not None:
        if entry.tb_frame.f_code.co_filename == __file__:
            own = entry.tb_next
        entry = entry.tb_next
    return own


def _become_main(**names):
    """Makes what is `__main__` now that of a program, of which nothing has run yet.

    Args:
      **names: what it defines besides.

    Returns:
      Its namespace.
    """
    main = vars(sys.modules["__main__"])
    builtins = main["__builtins__"]
    main.clear()
    main.update(vars(types.ModuleType("__main__")), __builtins__=builtins, __annotations__={})
    main.update(names)
    return main


def _run_module(arguments):
    # Python has put the working directory first in the path, as it does for that module.
    sys.argv[:] = arguments
    _become_main()
    runpy._run_module_as_main(arguments[0])


def _run_path(arguments):
    path = arguments[0]
    # What Python calls the file, which it does not make shorter.
    file = os.path.join(os.getcwd(), path) if sys.version_info >= (3, 9) else path
    sys.argv[:] = arguments
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        _set_first_path(file)
        _become_main()
        runpy._run_module_as_main("__main__", alter_argv=False)
        return
    try:
        with io.open_code(path) as stream:
            code = pkgutil.read_code(stream)
            stream.seek(0)
            source = stream.read()
    except OSError as error:
        message = "%s: can't open file %r: [Errno %s] %s\n"
        sys.stderr.write(message % (sys.executable, file, error.errno, error.strerror))
        sys.exit(2)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    loader = importlib.machinery.SourceFileLoader("__main__", file)
    main = _become_main(__file__=file, __cached__=None, __loader__=loader)
    exec(code or compile(source, file, "exec", dont_inherit=True), main)


def _set_first_path(path):
    """Puts a path where Python has put the working directory, if it was allowed to."""
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path[0] = path
