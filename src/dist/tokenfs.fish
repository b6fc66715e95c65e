# Completion of tokenfs(8) for fish. The options, and what is said of each, come from `tokenfs -h`.

function __tokenfs_options
        set -l program (commandline -opc)[1]
        $program -h 2>/dev/null | string replace -rf '^  ([a-z_]+=?)\S*\s+(.*)' '$1\t$2'
end

function __tokenfs_profiles
        set -l config $AWS_CONFIG_FILE ~/.aws/config
        set -l credentials $AWS_SHARED_CREDENTIALS_FILE ~/.aws/credentials
        string replace -rf '^\[\s*(?:profile\s+)?"?([^]"\s]+)"?\s*\].*' '$1' <$config[1] 2>/dev/null
        string replace -rf '^\[\s*"?([^]"\s]+)"?\s*\].*' '$1' <$credentials[1] 2>/dev/null
end

# Ids of tokens that mounts of tokenfs show already. Only those whose daemon answers within a second.
function __tokenfs_ids
        for mountpoint in (awk '/ - fuse\.tokenfs / {print $5}' /proc/self/mountinfo 2>/dev/null)
                timeout 1 ls -- (printf '%b' $mountpoint) 2>/dev/null
        end
end

function __tokenfs_values -a name
        switch $name
                case log_level
                        printf '%s\n' error warning info debug
                case sandbox
                        printf '%s\n' on off
                case mode secret_mode
                        printf '%s\n' 0400 0440 0444
                case region
                        echo us-east-2
                case uid user
                        __fish_complete_users
                case gid
                        __fish_complete_groups
                case profile
                        __tokenfs_profiles | string match -rv '^(sso-session|services)$'
                case token
                        __tokenfs_ids
        end
end

# The word so far is "a=1,b,na" or "a=1,name=va": what comes before is kept.
function __tokenfs_words
        set -l word (commandline -ct)
        set -l before (string replace -r '[^,]*$' '' -- $word)
        set -l last (string replace -r '.*,' '' -- $word)
        if string match -q '*=*' -- $last
                set -l name (string replace -r '=.*' '' -- $last)
                for value in (__tokenfs_values $name)
                        echo "$before$name=$value"
                end
        else
                __tokenfs_options | string replace -r '^' "$before"
        end
end

complete -c tokenfs -f
complete -c tokenfs -s f -l foreground -d 'stay in the foreground, log to standard error'
complete -c tokenfs -s d -l debug -d 'the same, and log everything'
complete -c tokenfs -s o -x -a '(__tokenfs_words)' -d options
complete -c tokenfs -l check -d 'say what works and what doesn\'t'
complete -c tokenfs -l json -d 'the same for machines'
complete -c tokenfs -l wait -d 'wait until the content of a file has changed'
complete -c tokenfs -l timeout -x -d 'not longer than this, in seconds'
complete -c tokenfs -l unit -x -d 'check what this service would do'
complete -c tokenfs -l reload -x -d 'give a running service these options'
complete -c tokenfs -l mount-only -d 'mount, and give the descriptor to the service manager'
complete -c tokenfs -s h -l help -d 'print the options'
complete -c tokenfs -s V -l version -d 'print the version'
complete -c tokenfs -n '__fish_contains_opt check' -a '(__tokenfs_ids)'
complete -c tokenfs -n '__fish_contains_opt wait' -F
complete -c tokenfs -n 'not __fish_contains_opt check wait' -a '(__fish_complete_directories)'
