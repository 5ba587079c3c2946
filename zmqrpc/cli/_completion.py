"""`zmqrpc completion`: prints what has a shell complete our command lines, made from the table of commands."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator

from zmqrpc.cli._commands import CHOICES, COMMANDS, SHELLS, Command, CommandOption, Kind, Word
from zmqrpc.cli._exit import Exit
from zmqrpc.cli._report import Report


def run(command: str, options: Namespace, report: Report) -> int:
    """Print the completions for a shell."""
    text = script(options.shell)
    if options.json:
        report.result(text)
    else:
        report.text(text)
    return Exit.DONE


def script(shell: str) -> str:
    """Return the completions for one of `SHELLS`."""
    scripts: dict[str, Callable[[], Iterator[str]]] = dict(zip(SHELLS, (_bash, _zsh), strict=True))
    return "\n".join(scripts[shell]()) + "\n"


# bash

_MANY = 9
"""How many words are completed where there may be any number."""

_BASH_BEGIN = r"""# bash completion for zmqrpc, made by `zmqrpc completion bash`

_zmqrpc() {
    # Bash splits words at : and = too; here they are as typed.
    local -a words=()
    local rest=$COMP_LINE bare i last=-1
    for ((i = 0; i <= COMP_CWORD; i++)); do
        bare=${rest#"${rest%%[![:space:]]*}"}
        if ((last >= 0)) && [[ $bare == "$rest" && -n ${COMP_WORDS[i]} ]]; then
            words[last]+=${COMP_WORDS[i]}
        else
            words[++last]=${COMP_WORDS[i]}
        fi
        rest=${bare#"${COMP_WORDS[i]}"}
    done

    local flags="" valued="" kinds=""
    case ${words[1]} in"""

_BASH_END = r"""    esac

    # What stands before the word to complete: options for the commands that are asked, and how many words.
    local -a store=() member=() given=()
    local word option=""
    for word in "${words[@]:2:last-2}"; do
        word=${word//[\'\"]/}
        if [[ -n $option ]]; then
            word=$option=$word
            word=${word/#-c=/--config-file=}
            option=""
        fi
        if [[ $word == --@(url|config-file)=* ]]; then
            store+=("$word")
        elif [[ $word == --@(server|exchange)=* ]]; then
            member+=("$word")
        elif [[ " $valued " == *" $word "* ]]; then
            option=$word
        elif [[ $word != -* ]]; then
            given+=("$word")
        fi
    done

    local current=${words[last]} program=${words[0]/#\~/$HOME} kind=""
    if [[ $current == --*=* ]]; then
        option=${current%%=*}
        current=${current#*=}
    fi
    if ((last == 1)); then
        kind=commands
    elif [[ -n $option ]]; then
        kind=value
        [[ $option == --config-file || $option == -c ]] && kind=file
    elif [[ $current == -* ]]; then
        kind=flags
    else
        local -a each=($kinds)
        kind=${each[${#given[@]}]}
    fi

    local choices=""
    case $kind in
        commands) choices="$commands --help --version" ;;
        flags) choices="$flags --help" ;;
@CHOICES@
        topic) choices=$("$program" ls --topics "${store[@]}" 2>/dev/null) ;;
        method) choices=$("$program" describe --methods "${store[@]}" "${member[@]}" "${given[0]}" 2>/dev/null) ;;
        file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac
    local IFS=$' \n'
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
    # Bash puts a completion in the place of what follows the last : or = only.
    COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*[:=]}"}"}")
}
complete -F _zmqrpc zmqrpc"""


def _bash() -> Iterator[str]:
    begin, _, case = _BASH_BEGIN.rpartition("\n    case")
    yield begin
    yield f'    local commands="{" ".join(command.name for command in COMMANDS)}"'
    yield f"    case{case}"
    for command in COMMANDS:
        flags = " ".join(option.flag for option in command.options)
        valued = " ".join(
            flag for option in command.options if option.value and not option.optional for flag in option.flags
        )
        kinds = " ".join(" ".join([_bash_kind(word)] * (_MANY if word.many == "+" else 1)) for word in command.words)
        yield f"        {command.name})"
        yield f'            flags="{flags}"'
        yield f'            valued="{valued}"'
        yield f'            kinds="{kinds}"'
        yield "            ;;"
    choices = [f'        {kind.name.lower()}) choices="{" ".join(choices)}" ;;' for kind, choices in CHOICES.items()]
    yield _BASH_END.replace("@CHOICES@", "\n".join(choices))


def _bash_kind(word: Word) -> str:
    return word.kind.name.lower() if word.kind in (Kind.TOPIC, Kind.METHOD, *CHOICES) else "value"


# zsh

_ZSH_BEGIN = r"""#compdef zmqrpc
# zsh completion for zmqrpc, made by `zmqrpc completion zsh`

_zmqrpc_asked() {
    # The options that the commands which are asked take too.
    local option value
    asked=()
    for option in "$@"; do
        value=${opt_args[$option]-}
        [[ -n $value ]] && asked+=("$option" "${(Q)value}")
    done
}

_zmqrpc_topics() {
    local -a asked topics
    _zmqrpc_asked --url --config-file -c
    topics=(${(f)"$(_call_program topics $program ls --topics ${(q)asked} 2>/dev/null)"})
    compadd -a topics
}

_zmqrpc_methods() {
    local -a asked methods
    _zmqrpc_asked --url --config-file -c --server --exchange
    methods=(${(f)"$(_call_program methods $program describe --methods ${(q)asked} ${(q)line[1]} 2>/dev/null)"})
    compadd -a methods
}

_zmqrpc() {
    local program=$words[1] context state
    local -a line
    local -A opt_args
    if ((CURRENT == 2)); then
        local -a commands=("""

_ZSH_MIDDLE = r"""        )
        _describe -t commands command commands
        compadd -- --help --version
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in"""

_ZSH_END = r"""    esac
}

if [[ $funcstack[1] == _zmqrpc ]]; then
    _zmqrpc "$@"
else
    compdef _zmqrpc zmqrpc
fi"""


def _zsh() -> Iterator[str]:
    yield _ZSH_BEGIN
    for command in COMMANDS:
        yield f"            {_quoted(f'{command.name}:{command.summary}')}"
    yield _ZSH_MIDDLE
    for command in COMMANDS:
        yield f"        {command.name})"
        yield " \\\n".join(["            _arguments", *(f"                {spec}" for spec in _zsh_specs(command))])
        yield "            ;;"
    yield _ZSH_END


def _zsh_specs(command: Command) -> Iterator[str]:
    for option in command.options:
        yield _zsh_option(option)
    yield _quoted("(- *)--help[show the help and exit]")
    for number, word in enumerate(command.words, 1):
        place = "*" if word.many in ("*", "+") else f"{number}" if not word.many else f"{number}:"
        # With no action at all zsh would list the options here, and complete none.
        yield _quoted(f"{place}:{word.name}:{_zsh_action(word.kind) or '( )'}")


def _zsh_option(option: CommandOption) -> str:
    text = option.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    optional = ":" if option.optional else ""
    value = f"{optional}:{option.value}:{_zsh_action(option.kind)}" if option.value else ""
    flags = f"{{{','.join(option.flags)}}}" if option.short else option.flag
    # The braces are for the shell, so the quotes end before them; and an option with another form excludes that.
    begin = "'*'" if option.repeat else f"'({' '.join(option.flags)})'" if option.short else ""
    return f"{begin}{flags}{_quoted(f'[{text}]{value}')}"


def _zsh_action(kind: Kind) -> str:
    actions = {Kind.TOPIC: "_zmqrpc_topics", Kind.METHOD: "_zmqrpc_methods", Kind.FILE: "_files"}
    return f"({' '.join(CHOICES[kind])})" if kind in CHOICES else actions.get(kind, "")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
