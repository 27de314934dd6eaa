# Tab completion of lenet for fish: lenet completion fish > ~/.config/fish/completions/lenet.fish
function __lenet_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    $words[1] __complete fish $words[2..-1] "$current" 2>/dev/null
end
complete -c lenet -e
complete -c lenet -f -a '(__lenet_complete)'
