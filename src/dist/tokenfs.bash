# shellcheck shell=bash
# Completion of tokenfs(8) for bash. The options come from `tokenfs -h`, so there is no second list of them here.

# The options as -h shows them, one a line: "ttl=" or "audit".
_tokenfs_options()
{
        "$1" -h 2>/dev/null | sed -n '/^Options/,/^$/s/^  \([a-z_]*=\{0,1\}\).*/\1/p'
}

# Profiles of the shared files.
_tokenfs_profiles()
{
        local config=${AWS_CONFIG_FILE:-$HOME/.aws/config}
        local credentials=${AWS_SHARED_CREDENTIALS_FILE:-$HOME/.aws/credentials}
        sed -n -E 's/^\[[[:space:]]*(profile[[:space:]]+)?"?([^]"[:space:]]+)"?[[:space:]]*\].*/\2/p' \
                "$config" "$credentials" 2>/dev/null | grep -v -e '^sso-session$' -e '^services$' | sort -u
}

# Ids of tokens that mounts of tokenfs show already. Only those whose daemon answers within a second.
_tokenfs_ids()
{
        local mountpoint
        while read -r mountpoint; do
                timeout 1 ls -- "$(printf '%b' "$mountpoint")" 2>/dev/null
        done < <(awk '/ - fuse\.tokenfs / {print $5}' /proc/self/mountinfo 2>/dev/null)
}

# Values of one option.
_tokenfs_values()
{
        case $1 in
        log_level) printf '%s\n' error warning info debug ;;
        sandbox) printf '%s\n' on off ;;
        profile) _tokenfs_profiles ;;
        region) printf '%s\n' us-east-2 ;;
        uid | user) compgen -u ;;
        gid) compgen -g ;;
        mode | secret_mode) printf '%s\n' 0400 0440 0444 ;;
        ca_bundle) compgen -f -- "$2" ;;
        token) _tokenfs_ids ;;
        esac
}

_tokenfs()
{
        local IFS=$' \t\n' word=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}
        local last before='' name
        COMPREPLY=()
        # bash cuts words at '='; what is completed is what follows the last blank.
        last=${line##*[[:space:]]}
        line=${line%"$last"}
        if [[ $line =~ [[:space:]]-o[[:space:]]*$ ]]; then
                [[ $last == *,* ]] && before=${last%,*},
                last=${last#"$before"}
                if [[ $last == *=* ]]; then
                        name=${last%%=*}
                        mapfile -t COMPREPLY < <(compgen -W "$(_tokenfs_values "$name" "${last#*=}")" -- "${last#*=}")
                        # Without '=' among the word breaks, readline replaces the whole word.
                        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$before$name=}")
                else
                        mapfile -t COMPREPLY < <(compgen -P "$before" -W "$(_tokenfs_options "$1")" -- "$last")
                        compopt -o nospace
                fi
        elif [[ $word == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W '-f -d -o -h -V --foreground --debug --check --json --wait --timeout= --unit= --reload= --mount-only
                        --help --version' -- "$word")
        elif [[ " ${COMP_WORDS[*]} " == *" --check "* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(_tokenfs_ids)" -- "$word")
        elif [[ " ${COMP_WORDS[*]} " == *" --wait "* ]]; then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
        else
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -d -- "$word")
        fi
}
complete -F _tokenfs tokenfs
