#!/usr/bin/env bash
# shellcheck disable=SC2317,SC2016
# Static analysis of src/: clang-tidy (the set of .clang-tidy), cppcheck, gcc's -fanalyzer; shellcheck for the scripts.
# No findings, or it fails. Argument: a build directory, for its compile_commands.json.
set -u
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
build=$1
status=0
jobs=$(nproc)
cd "$tree" || exit 1
mapfile -t sources < <(git -c safe.directory='*' ls-files --cached --others --exclude-standard 'src/*.c')

section() # TITLE COMMAND…
{
        local title=$1 started=$SECONDS outcome=ok
        shift
        "$@" || { outcome=FINDINGS status=1; }
        echo "$title: $outcome ($((SECONDS - started)) s)"
}

tidy()
{
        local output
        output=$(printf '%s\0' "${sources[@]}" | xargs -0 -n 3 -P "$jobs" \
                clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option 2>&1) && return 0
        # The findings; where there are none, whatever else it said.
        grep -E '(error|warning): ' <<<"$output" || printf '%s\n' "$output"
        return 1
}

# cppcheck doesn't know the cleanup attribute, and takes what it frees for leaks: those are the sanitizers' part. readdir(3)
# is safe on a stream that no other thread uses.
check()
{
        cppcheck --quiet -j "$jobs" --std=c11 --enable=warning,performance,portability --inline-suppr \
                --library=posix --error-exitcode=1 --suppress=missingIncludeSystem --suppress=invalidFunctionArg --suppress=memleak --suppress=resourceLeak --suppress=readdirCalled --suppress=preprocessorErrorDirective \
                --template='{file}:{line}: {severity}: {message} [{id}]' \
                -D_GNU_SOURCE -D__linux__ -I include -I src src
}

# The checks of gcc 12 that hold in C code without false alarms; the others (leaks through cleanup attributes, uses of
# uninitialised values after a checked call) are clang's and the sanitizers' part.
analyze_one() # FILE
{
        gcc -std=gnu11 -O1 -c -o /dev/null -w -fanalyzer \
                -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value -Wno-analyzer-fd-leak \
                -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -I include -I src -I "$build" \
                $(pkg-config --cflags fuse3 libcjson libcurl libssl libcrypto libseccomp) "$1" 2>&1
}

analyze()
{
        export -f analyze_one
        export build
        local output
        output=$(printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'analyze_one "$1"' analyze)
        [ -z "$output" ] || { printf '%s\n' "$output"; return 1; }
}

scripts()
{
        local -a found
        mapfile -t found < <(git -c safe.directory='*' ls-files --cached --others --exclude-standard |
                xargs -d '\n' grep -lsE '^#!.*\b(bash|sh)$|^# shellcheck shell=')
        shellcheck -x --source-path=SCRIPTDIR -e SC1091,SC2015,SC2046,SC2317 "${found[@]}"
}

section "shellcheck" scripts
section "cppcheck" check
section "gcc -fanalyzer" analyze
section "clang-tidy" tidy
exit $status
