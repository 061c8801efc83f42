"""The command line: what is asked for, checked before anything starts; heavy imports wait until something runs.

Each module has a group of commands, with their options beside what they do.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

from bench.cli import config, data, doctor, kept, merge, registered, report, run, scores, share, tune
from bench.cli.options import Parser
from bench.cli.run import GOES_ON
from bench.plan import plugins
from bench.registry import UsageError, nearest
from bench.text import one_line, say

DISK = {  # what a user can mend: no room, no right to write, or something else in the place of a file or a folder
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG,
    errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 a trial asked for has no result, or none is ok, or nothing can be written, 2 a mistake in the command, 130 Ctrl-C."""
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a terminal that has not all letters shows the escapes of those that it lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
        arguments.plugins = plugins.load(arguments.plugins + arguments.more_plugins)
        return arguments.run(arguments)
    except UsageError as error:
        say(one_line(f"run_bench.py: error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say(f"\nstopped; {GOES_ON}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output is gone, as in `list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        then = f"; {GOES_ON}" if arguments.run in (run.run, tune.run) else ""
        say(one_line(f"run_bench.py: error: {error.strerror}{where}{then}"), file=sys.stderr)
        return 1


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What a command asks for, with what the file that it names by --config asks for beside that.

    Raises UsageError for a mistake that shows without looking at methods and data sets.
    """
    parser = Parser(
        prog="run_bench.py",
        description="Trains every method on every cell of a grid of data sets, scores, ranks and plots them. "
        "The same command again trains only what is missing.",
        epilog="example: python run_bench.py --grid domains=2..10",
        allow_abbrev=False,
    )
    parser.set_defaults(more_plugins=[])
    run.add_options(parser)
    commands = parser.add_subparsers(title="other commands", metavar="COMMAND", dest="command")
    for module in (registered, data, scores, tune, merge, report, share, kept, doctor):
        module.add_commands(commands)
    parsers = [parser, *commands.choices.values()]
    options = {o for p in parsers for action in p._actions for o in action.option_strings if o.startswith("--")}
    _check_words(argv, options)
    arguments = parser.parse_args(argv)
    _check_order(argv, arguments.command)
    if getattr(arguments, "config", None):
        own = commands.choices.get(arguments.command, parser)
        words = config.words_of(config.read(arguments.config), arguments)
        whose = f"--config {arguments.config}: " + (f"{arguments.command} has" if arguments.command else "there is")
        _check_words(words, {option for action in own._actions for option in action.option_strings}, whose)
        own.set_defaults(**vars(own.parse_args(words)))
        arguments = parser.parse_args(argv)
    arguments.words = list(argv)
    return arguments


def _check_order(argv: Sequence[str], command: str | None) -> None:
    """Before the name of a command there may be plug-ins alone: argparse would forget what else stands there."""
    for word in argv[: argv.index(command)] if command else []:
        option = word.split("=")[0]
        if option.startswith("--") and option != "--plugin":
            raise UsageError(f"{option} stands before {command}, whose options come behind it: {command} {option} ...")


def _check_words(words: Sequence[str], options: set[str], whose: str = "there is") -> None:
    for word in words:
        if "\0" in word:
            raise UsageError(f"{word!r} holds a null character, which no name or value may have")
        option = word.split("=")[0]
        if option.startswith("--") and option not in options:
            raise UsageError(f"{whose} no option {option!r}; {nearest(option, sorted(options))}")
