"""No message names an option that its command lacks: all messages against all parsers."""

import ast
from functools import cache

import pytest

from cli.said import is_of, modules, speakers_of, texts_below
from cryodrgn.cli.main import ALL_COMMANDS, CRYODRGN, job_of_any
from cryodrgn.cli.options_in_messages import (
    FOREIGN,
    OPTION,
    SETTING,
    fitted,
    in_flags_of_others,
    options_of_others,
)
from cryodrgn.cli.other_versions import OPTIONS
from cryodrgn.cli.tools import CRYODRGN_UTILS
from cryodrgn.jobs.command_words import in_flags
from sources import PACKAGE, PATHS, nodes_of

PROGRAMS = (CRYODRGN, CRYODRGN_UTILS)


def texts_of(node):
    """Texts of an expression, with X for what is filled in."""
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            yield "".join(
                piece.value if isinstance(piece, ast.Constant) else "X" for piece in part.values
            )
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


@cache
def messages():
    """Texts of errors, warnings and news, those that name options or settings."""
    return list(found_messages())


def found_messages():
    for path in PATHS:
        for node in nodes_of(path):
            is_error = isinstance(node, ast.Assign) and any(
                isinstance(name, ast.Name) and name.id == "msg" for name in node.targets
            )
            called = getattr(getattr(node, "func", None), "attr", "")
            if is_error or called in {"info", "warning"}:
                for text in texts_of(node.value if is_error else node):
                    text = FOREIGN.sub("", text)
                    if OPTION.search(text) or SETTING.search(text):
                        yield path.relative_to(PACKAGE), text


@pytest.fixture(scope="module")
def parsers():
    found = {}
    for program in PROGRAMS:
        _, commands = program._parsers()
        for name, parser in commands.items():
            found[name] = (program.load_command(name).job, set(parser._option_string_actions))
    return found


def test_messages_are_found():
    assert len(messages()) > 200


def test_no_message_names_an_option_that_its_command_lacks(parsers):
    told = messages()
    for job, flags in parsers.values():
        for path, text in told:
            words = fitted(in_flags(text, job), flags, ALL_COMMANDS)
            words = in_flags_of_others(words, ALL_COMMANDS, lambda name: parsers[name][0])
            theirs = {option for _, option in options_of_others(words, parsers)}
            left = {match[1] for match in OPTION.finditer(words)} - flags - theirs
            assert not left, (path, words)
            assert not SETTING.search(words), (path, words)


def test_what_is_known_is_said_without_the_advice():
    said = "8 components; there may be more, ask for them with --components 16, or not"
    assert fitted(said, (), ()) == "8 components; there may be more, or not"
    assert fitted("one; take --x, which helps", (), ()) == "one"


def test_options_of_other_commands_are_theirs(parsers):
    def job_of(name):
        return parsers[name][0]

    told = {(path, in_flags_of_others(text, ALL_COMMANDS, job_of)) for path, text in messages()}
    wrong = {
        (str(path), command, option)
        for path, text in told
        for command, option in options_of_others(text, parsers)
        if option not in parsers[command][1]
    }
    assert not wrong


def test_whatever_is_said_names_options_of_a_command_that_can_say_it():
    """In all texts, not of errors alone: of its own command where a command says it."""
    told = [
        (module, owner, text)
        for module, tree in modules().items()
        for owner, text in texts_below(tree)
    ]
    assert len(told) > 250
    wrong = [
        (module, text)
        for module, owner, text in told
        if not any(is_of(command, text) for command in speakers_of(module, owner))
    ]
    assert not wrong


def test_options_that_are_named_in_place_of_others_exist(parsers):
    flags = {name: flags for name, (_, flags) in parsers.items()}
    for command, reasons in OPTIONS.items():
        for option, reason in reasons.items():
            theirs = options_of_others(reason, flags)
            assert all(named in flags[other] for other, named in theirs), reason
            named = {match[1] for match in OPTION.finditer(reason)}
            assert named <= flags[command] | {named for _, named in theirs}, reason
            assert option not in flags[command]


def test_settings_of_a_command_that_is_named_become_its_flags():
    said = "no power; give a run of train_vae `held_out` 0.05, with `with_contrast=False`"
    found = in_flags_of_others(said, ALL_COMMANDS, job_of_any)
    assert found == "no power; give a run of train_vae --held-out 0.05, with --no-contrast"
    assert in_flags_of_others("`nobody` has it", ALL_COMMANDS, job_of_any) == "`nobody` has it"


def test_advice_is_left_out_and_what_is_wrong_stays():
    message = "p.star names a.mrcs, which was not found; tried /x; give it with --datadir"
    told = fitted(message, {"-o"}, ALL_COMMANDS)
    assert told == "p.star names a.mrcs, which was not found; tried /x"
    assert fitted(message, {"--datadir"}, ALL_COMMANDS) == message
    either = "-D 8 is wrong; leave out -D, or pass another file"
    assert fitted(either, set(), ALL_COMMANDS) == "D 8 is wrong; pass another file"
    packed = "t.star is packed; unpack it first (tar -xf), with zstd -d or with ssh -L"
    assert fitted(packed, set(), ALL_COMMANDS) == packed
    other = "no poses; write them with cryodrgn parse_pose_star -D 8"
    assert fitted(other, set(), ALL_COMMANDS) == other


def test_help_texts_name_options_of_their_own_command(parsers):
    wrong = []
    for name, (_, flags) in parsers.items():
        program = next(p for p in PROGRAMS if name in {*p.commands, *p.aliases})
        parser = program._parsers(only=name)[1][name]
        for action in parser._actions:
            text = action.help or ""
            theirs = {option for _, option in options_of_others(text, parsers)}
            named = {match[1] for match in OPTION.finditer(text)}
            wrong += [(name, action.dest, option) for option in named - flags - theirs]
    assert wrong == []
