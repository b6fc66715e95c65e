# shellcheck shell=bash
# Stages: named steps that run one after another, each with a heading, a time limit and its time, and a table at the
# end. A stage is a function stage_NAME of the script that sources this file; the script is executed anew for each
# stage, so that `timeout` can end it with everything it started. A stage that can't run here calls `skip REASON`.

stages_rows=()
stages_passed=0
stages_failed=0
stages_skipped=0
stages_child=

skip() # REASON: ends the stage that runs
{
        printf '%s\n' "$*" >"$STAGES_TMP/skip"
        exit 77
}

# Ends what a stage left running: only processes whose environment names our temporary directory (every process of a
# stage has it from us), and only mounts below that directory.
stages_clean()
{
        local pid mountpoint
        local -a pids mountpoints
        pids=(/proc/[0-9]*)
        for pid in "${pids[@]#/proc/}"; do
                if grep -qsF "$STAGES_TMP" "/proc/$pid/environ"; then
                        echo "ending what was left running: $pid $(cat "/proc/$pid/comm" 2>/dev/null)"
                        kill -KILL "$pid" 2>/dev/null
                fi
        done
        mapfile -t mountpoints < <(cut -d' ' -f5 /proc/self/mountinfo | grep -F "$STAGES_TMP/" | tac)
        for mountpoint in "${mountpoints[@]}"; do
                echo "unmounting what was left: $mountpoint"
                umount -l "$(printf '%b' "$mountpoint")"
        done
        rm -rf --one-file-system "${STAGES_TMP:?}"/*
}

stages_interrupted()
{
        [ -z "$stages_child" ] || kill -TERM "$stages_child" 2>/dev/null
        wait
        stages_clean
        rm -rf --one-file-system "$STAGES_TMP"
        echo "interrupted"
        exit 130
}

stages_begin()
{
        STAGES_TMP=$(mktemp -d "${TMPDIR:-/tmp}/tokenfs-run.XXXXXX") || exit 1
        chmod 0755 "$STAGES_TMP" # tests read as other users, too
        export STAGES_TMP TMPDIR=$STAGES_TMP
        trap stages_interrupted INT TERM HUP
}

stage() # NAME SECONDS TITLE
{
        local name=$1 limit=$2 title=$3 status started=$SECONDS outcome took
        printf '\n======== %s: %s\n' "$name" "$title"
        rm -f "$STAGES_TMP/skip"
        timeout -k 20 "$limit" bash "$0" --one-stage "$name" </dev/null &
        stages_child=$!
        wait "$stages_child"
        status=$?
        stages_child=
        took=$((SECONDS - started))
        case $status in
        0) outcome=passed stages_passed=$((stages_passed + 1)) ;;
        77)
                outcome="SKIPPED: $(cat "$STAGES_TMP/skip" 2>/dev/null || echo 'no reason given')"
                stages_skipped=$((stages_skipped + 1))
                ;;
        124 | 137) outcome="FAILED: not done within $limit s" stages_failed=$((stages_failed + 1)) ;;
        *) outcome="FAILED: status $status" stages_failed=$((stages_failed + 1)) ;;
        esac
        stages_clean
        printf -- '-------- %s: %s (%d s)\n' "$name" "$outcome" "$took"
        stages_rows+=("$(printf '%-14s %5d s  %s' "$name" "$took" "$outcome")")
}

stages_end() # prints the table and the counts; the status is that of the whole
{
        rm -rf --one-file-system "$STAGES_TMP"
        printf '\n======== summary (%d s)\n' "$SECONDS"
        printf '%s\n' "${stages_rows[@]}"
        [ "$stages_skipped" -eq 0 ] || printf '\n*** %d stage(s) SKIPPED: see above why ***\n' "$stages_skipped"
        printf '\n%d passed, %d failed, %d skipped\n' "$stages_passed" "$stages_failed" "$stages_skipped"
        [ "$stages_failed" -eq 0 ] && [ "$stages_passed" -gt 0 ]
}
