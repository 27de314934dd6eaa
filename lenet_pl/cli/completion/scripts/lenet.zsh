#compdef lenet
# Tab completion of lenet for zsh: source <(lenet completion zsh)
_lenet() {
    local line text meaning
    local -a finished open finished_lines open_lines
    for line in "${(@f)$("${(Q)words[1]}" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        text=${line%%$'\t'*} meaning=${line#*$'\t'}
        [[ -z $text ]] && continue
        if [[ $text == *' ' ]]; then
            finished+=("${text% }")
            finished_lines+=("${text% }${meaning:+  -- $meaning}")
        else
            open+=("$text")
            open_lines+=("$text${meaning:+  -- $meaning}")
        fi
    done
    (( $#open )) && compadd -S '' -l -d open_lines -a open
    (( $#finished )) && compadd -l -d finished_lines -a finished
    return $(( $#open + $#finished == 0 ))
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _lenet "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _lenet lenet
fi
