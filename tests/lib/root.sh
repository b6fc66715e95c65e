# shellcheck shell=bash disable=SC2154,SC2016
# A root directory of another Debian, made by debootstrap, and what runs in it: in mount and process namespaces of its
# own, with that directory as its root, and the project's files in /src. To be sourced (tests/platforms/*).

# Where this machine's apt gets Debian from.
root_mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/\?$')
root_mirror=${root_mirror:-http://deb.debian.org/debian}

# True where apt can reach this suite; else says loudly that it can't.
root_is_reachable() # SUITE
{
        curl -sf -m 20 -o /dev/null "$root_mirror/dists/$1/Release" && return
        echo "*** CAN'T REACH Debian's suite $1: nothing was tested on it ***"
        return 1
}

# Makes the root: the suite's minimum, and an empty /src. As root, with debootstrap.
root_make() # DIRECTORY SUITE [ARCHITECTURE]
{
        local directory=$1 suite=$2 architecture=${3-}
        local log=$directory.log
        debootstrap --variant=minbase ${architecture:+"--arch=$architecture"} "$suite" "$directory" "$root_mirror" \
                >"$log" 2>&1 || { tail -n 20 "$log"; return 1; }
        printf '#!/bin/sh\nexit 101\n' >"$directory/usr/sbin/policy-rc.d" # no service starts there
        chmod 0755 "$directory/usr/sbin/policy-rc.d"
        echo 'force-unsafe-io' >"$directory/etc/dpkg/dpkg.cfg.d/unsafe-io" # it isn't kept
        mkdir "$directory/src"
}

# Puts what git has (or would) of the tree into /src, a checkout of its own; builds that are there stay.
root_copy_files() # DIRECTORY
{
        find "$1/src" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
        git -c safe.directory='*' -C "$tree" ls-files -z --cached --others --exclude-standard --deduplicate |
                (cd "$tree" && while IFS= read -r -d '' name; do
                        [ ! -e "$name" ] || printf '%s\0' "$name"
                done | tar -c --null -T -) | tar -x -C "$1/src" || return
        git -C "$1/src" init -q && git -C "$1/src" add -A
}

# Runs a command in it as root, with what a machine has: /proc, /sys, devices, terminals, /run and /tmp of its own.
root_run() # DIRECTORY COMMAND…
{
        local directory=$1
        shift
        unshare --mount --pid --fork --kill-child --propagation private bash -euc '
                root=$1
                shift
                mount --bind "$root" "$root"
                cd "$root"
                mount -t proc proc proc
                mount --rbind /sys sys
                mount -t tmpfs -o mode=0755 tmpfs dev
                for name in null zero full random urandom tty fuse; do
                        [ ! -e "/dev/$name" ] || { touch "dev/$name" && mount --bind "/dev/$name" "dev/$name"; }
                done
                ln -s /proc/self/fd dev/fd
                ln -s /proc/self/fd/0 dev/stdin
                ln -s /proc/self/fd/1 dev/stdout
                ln -s /proc/self/fd/2 dev/stderr
                mkdir dev/pts dev/shm
                mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
                ln -s pts/ptmx dev/ptmx
                mount -t tmpfs -o mode=1777 tmpfs dev/shm
                mount -t tmpfs -o mode=0755 tmpfs run
                mount -t tmpfs -o mode=1777 tmpfs tmp
                mkdir -p run/old
                pivot_root . run/old
                umount -l /run/old
                rmdir /run/old
                cd /src
                exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
                        DEBIAN_FRONTEND=noninteractive TERM=dumb "$@"
        ' bash "$directory" "$@"
}

root_remove() # DIRECTORY
{
        # Nothing is mounted below it in this namespace; --one-file-system is for the case that something is.
        rm -rf --one-file-system "$1" "$1.log"
}
