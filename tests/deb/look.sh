#!/usr/bin/env bash
# look.sh PACKAGE.deb: what can be said of the package without installing it.
set -euo pipefail
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin
package=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/deb/check.sh
source "$here/check.sh"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

main() {
    dpkg-deb -x "$package" "$root"
    check "lintian finds neither errors nor warnings" lintian --fail-on error,warning --allow-root --tag-display-limit 0 "$package"
    check "the manual pages render without a warning" manual
    check "the manual has every command and every key" complete
    check "the completions of bash load and know the commands" in_bash
    check "the completions of zsh load" zsh -fc "autoload -U compinit && compinit -D -u && fpath=($root/usr/share/zsh/vendor-completions) && autoload -Uz _portald && { _portald 2>/dev/null || true; } && (( \$+functions[_portald_commands] ))"
    check "the completions of fish load and know the commands" in_fish
    check "the configuration is the one in the tree" cmp "$root/etc/portald/portald.toml" "$(dirname "$0")/../../packaging/portald.toml"
    check "the copyright file says what each licence is" licences
    [[ $failures -eq 0 ]]
}

manual() {
    local page
    for page in "$root"/usr/share/man/man*/*.gz; do
        local said
        said=$(MANWIDTH=80 man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null)
        [[ -z $said ]] || { echo "$page: $said"; return 1; }
    done
}

complete() {
    local word text
    text=$(zcat "$root"/usr/share/man/man8/portald.8.gz | sed 's/\\-/-/g')
    for word in run check-config devices doctor --config --demo --json --verbose; do
        grep -q -- "$word" <<<"$text" || { echo "portald(8) has no $word"; return 1; }
    done
    text=$(zcat "$root"/usr/share/man/man5/portald.toml.5.gz | sed 's/\\-/-/g')
    for word in $(sed -n 's/^#\([a-z_]*\) = .*/\1/p' "$root/etc/portald/portald.toml" | sort -u); do
        grep -q "^.fB$word = " <<<"$text" || { echo "portald.toml(5) has no $word"; return 1; }
    done
}

in_bash() {
    bash --norc -euc "source /usr/share/bash-completion/bash_completion; source '$root/usr/share/bash-completion/completions/portald'
        COMP_WORDS=(portald check-) COMP_CWORD=1; _portald portald check- portald; [[ \${COMPREPLY[*]} == check-config ]]"
}

in_fish() {
    HOME=$root fish --no-config -c "source $root/usr/share/fish/vendor_completions.d/portald.fish; complete -C 'portald check-'" | grep -q '^check-config'
}

licences() {
    local copyright=$root/usr/share/doc/portald/copyright name
    for name in $(sed -n '/^Files:/,/^$/s/^License: //p' "$copyright" | sed 's/ and /\n/g' | sort -u); do
        grep -q -A1 "^License: $name$" "$copyright" && awk -v l="License: $name" '$0 == l { getline; if (/^ /) found = 1 } END { exit !found }' "$copyright" ||
            { echo "no text of $name"; return 1; }
    done
}

main
