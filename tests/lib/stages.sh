# shellcheck shell=bash disable=SC2154
# Stages: named steps with a time limit each. The stages of one lane run one after another, and the lanes beside each
# other: "wait" has the stages that mostly wait (mounts), "work" those that keep a processor busy, at a lower priority.
# Where both lanes have stages, a stage's output is shown in one piece when it has ended; a table at the end.
#
# A stage is a function stage_NAME of the script that sources this file; the script is executed once more for each stage,
# so that `timeout` can end it with everything it started. A stage that can't run here calls `skip REASON`;
# a line in $STAGES_TMP/remark is added to its row of the table.
# TOKENFS_SLOWNESS multiplies the limits (tests/lib/slowness.sh measures it).
# The script defines the array `stages` of "NAME LANE SECONDS TITLE".

skip() # REASON: ends the stage that runs
{
        printf '%s\n' "$*" >"$STAGES_TMP/skip"
        exit 77
}

# Ends what a stage left running: only processes whose environment names the stage's directory (every process of a stage
# has it from here), and only mounts below that directory.
stages_clean() # DIRECTORY
{
        local directory=$1 pid mountpoint
        local -a pids mountpoints
        pids=(/proc/[0-9]*)
        for pid in "${pids[@]#/proc/}"; do
                if grep -zqsE "=${directory//./\\.}(/|$)" "/proc/$pid/environ"; then
                        echo "ending what was left running: $pid $(cat "/proc/$pid/comm" 2>/dev/null)"
                        kill -KILL "$pid" 2>/dev/null
                fi
        done
        mapfile -t mountpoints < <(cut -d' ' -f5 /proc/self/mountinfo | grep -F "$directory/" | tac)
        for mountpoint in "${mountpoints[@]}"; do
                echo "unmounting what was left: $mountpoint"
                umount -l "$(printf '%b' "$mountpoint")"
        done
        rm -rf --one-file-system "$directory"
}

stages_begin()
{
        STAGES_RUN=$(mktemp -d "${TMPDIR:-/tmp}/tokenfs-run.XXXXXX") || exit 1
        chmod 0755 "$STAGES_RUN" # tests read as other users, too
        mkdir "$STAGES_RUN/rows"
        trap stages_interrupted INT TERM HUP
}

stages_end_all()
{
        local directory
        for directory in "$STAGES_RUN"/*/; do
                [ "$directory" = "$STAGES_RUN/rows/" ] || stages_clean "${directory%/}"
        done
        rm -rf --one-file-system "$STAGES_RUN"
}

stages_interrupted()
{
        trap '' INT TERM HUP
        local -a lanes
        mapfile -t lanes < <(jobs -p)
        [ "${#lanes[@]}" -eq 0 ] || kill -TERM "${lanes[@]}" 2>/dev/null
        wait
        stages_end_all
        echo "interrupted"
        exit 130
}

stage() # NAME SECONDS TITLE: runs it, and leaves a line for the table
{
        local name=$1 limit=$(($2 * ${TOKENFS_SLOWNESS:-1})) title=$3 directory=$STAGES_RUN/$1 status started=$SECONDS outcome
        printf '\n======== %s: %s\n' "$name" "$title"
        mkdir "$directory" && chmod 0755 "$directory"
        STAGES_TMP=$directory TMPDIR=$directory timeout -k 20 "$limit" bash "$0" --one-stage "$name" </dev/null &
        stages_child=$!
        wait "$stages_child"
        status=$?
        stages_child=
        case $status in
        0) outcome=passed$(sed 's/^/, /' "$directory/remark" 2>/dev/null) ;;
        77) outcome="SKIPPED: $(cat "$directory/skip" 2>/dev/null || echo 'no reason given')" ;;
        124 | 137) outcome="FAILED: not done within $limit s" ;;
        *) outcome="FAILED: status $status$(sed 's/^/, /' "$directory/remark" 2>/dev/null)" ;;
        esac
        stages_clean "$directory"
        printf -- '-------- %s: %s (%d s)\n' "$name" "$outcome" "$((SECONDS - started))"
        printf '%-14s %5d s  %s\n' "$name" "$((SECONDS - started))" "$outcome" >"$STAGES_RUN/rows/$name"
}

stages_of_lane() # LANE: the lines of its stages, of those that are wanted
{
        local line name lane
        for line in "${stages_wanted[@]}"; do
                read -r name lane _ <<<"$line"
                [ "$lane" != "$1" ] || printf '%s\n' "$line"
        done
}

lane() # LANE [alone]
{
        local name limit title
        stages_child=
        trap '[ -z "$stages_child" ] || kill -TERM "$stages_child" 2>/dev/null; wait; exit 130' TERM
        [ "$1" != work ] || renice -n 15 "$BASHPID" >/dev/null
        while read -r name _ limit title <&3; do
                if [ "${2-}" = alone ]; then
                        stage "$name" "$limit" "$title"
                        continue
                fi
                echo "[$SECONDS s] $name begins"
                stage "$name" "$limit" "$title" >"$STAGES_RUN/$name.log" 2>&1
                flock "$STAGES_RUN/rows" cat "$STAGES_RUN/$name.log"
        done 3< <(stages_of_lane "$1")
}

stages_run() # NAME…: these stages, or all
{
        local line name first=() pids=() pid
        stages_wanted=()
        for line in "${stages[@]}"; do
                read -r name _ <<<"$line"
                [ $# -gt 0 ] && [[ " $* " != *" $name "* ]] || stages_wanted+=("$line")
        done
        mapfile -t first < <(stages_of_lane first)
        [ "${#first[@]}" -eq 0 ] || { lane first alone & wait $!; }
        if [ -z "$(stages_of_lane wait)" ] || [ -z "$(stages_of_lane work)" ]; then
                lane wait alone & wait $!
                lane work alone & wait $!
                return
        fi
        lane wait & pids+=($!)
        lane work & pids+=($!)
        for pid in "${pids[@]}"; do
                wait "$pid"
        done
}

stages_end() # prints the table and the counts; the status is that of the whole
{
        local line name passed=0 failed=0 skipped=0 row
        printf '\n======== summary (%d s)\n' "$SECONDS"
        for line in "${stages_wanted[@]}"; do
                read -r name _ <<<"$line"
                row=$(cat "$STAGES_RUN/rows/$name" 2>/dev/null) || row=$(printf '%-14s %7s  FAILED: did not run to its end' "$name" '')
                printf '%s\n' "$row"
                case $row in
                *" passed" | *" passed, "*) passed=$((passed + 1)) ;;
                *" SKIPPED: "*) skipped=$((skipped + 1)) ;;
                *) failed=$((failed + 1)) ;;
                esac
        done
        stages_end_all
        [ "$skipped" -eq 0 ] || printf '\n*** %d stage(s) SKIPPED: see above why ***\n' "$skipped"
        printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
        [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
