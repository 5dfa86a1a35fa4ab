"""Prints a script with which the shell completes commands, options and names of models.

    source <(jaxvq completion)                           in ~/.bashrc
    autoload -Uz compinit bashcompinit && compinit && bashcompinit && source <(jaxvq completion)

The second line is for ~/.zshrc. Options are those that the installed command lists.
"""

from jaxvq import command, pretrained

SCRIPT = """\
_jaxvq() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=""
    if [ "$COMP_CWORD" = 1 ]; then
        words="%s --help --version"
    elif [[ $before == --model || $before == --checkpoint ]]; then
        words="%s"
    elif [[ $word == -* ]]; then
        words=$("${COMP_WORDS[@]:0:$COMP_CWORD}" --help 2>/dev/null |
            grep -oE -- '--[a-z][a-z_.]*' | sort -u)
    elif [ "$COMP_CWORD" = 2 ]; then
        case $before in
%s
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _jaxvq jaxvq
"""


def main(argv=None) -> int:
    from jaxvq.__main__ import PROGRAMS

    command.parser(__doc__).parse_args(argv)
    seconds: dict[str, list[str]] = {}
    for first, _, second in (word.partition(" ") for word in PROGRAMS):
        seconds.setdefault(first, []).append(second)
    cases = [f'        {a}) words="{" ".join(b)}" ;;' for a, b in seconds.items() if any(b)]
    print(SCRIPT % (" ".join(seconds), " ".join(pretrained.names()), "\n".join(cases)), end="")
    return 0


if __name__ == "__main__":
    command.run(main)
