# Tab completion of lenet for bash: source <(lenet completion bash)
_lenet_complete() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        [[ -n $line ]] && COMPREPLY+=("$line")
    done < <("$1" __complete bash "${COMP_LINE:0:$COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
}
complete -o nospace -o nosort -F _lenet_complete lenet 2>/dev/null || complete -o nospace -F _lenet_complete lenet
