# shellcheck shell=bash disable=SC2034
# What the project needs from Debian (12 and later), and one function that brings what is missing. Where everything is there it
# asks dpkg alone: no network, no root. To be sourced (tests/run, tests/demo).

# To build and to use it.
packages_build=(
        gcc libc6-dev pkgconf meson ninja-build
        libfuse3-dev fuse3 libcurl4-openssl-dev libcjson-dev libssl-dev libseccomp-dev
)
# To watch it with the local stand-in.
packages_demo=(
        "${packages_build[@]}" libcmocka-dev python3 curl jq openssl util-linux mount procps ca-certificates
)
# To test it on real mounts.
packages_e2e=(
        "${packages_demo[@]}"
        python3-pytest python3-pytest-timeout python3-pytest-xdist python3-botocore python3-prometheus-client python3-watchdog
        python3-cryptography attr acl rsync tar findutils git gettext-base inotify-tools iproute2
        systemd util-linux-extra man-db mandoc build-essential debhelper lintian dnsdist
)
# To test it by all means.
packages_test=(
        "${packages_e2e[@]}"
        clang llvm libclang-rt-dev clang-format clang-tidy cppcheck shellcheck valgrind debootstrap
)

# Containers and configuration management: large, and not everywhere; each is installed by itself, if it can be.
packages_containers=(
        busybox-static bubblewrap crun runc uidmap podman podman-compose golang-github-containers-common
        systemd-container python3-yaml ansible-core puppet-agent
)

# To try what is installed beside the program: each is left out, loudly, where it can't be had.
packages_dist=(
        prometheus prometheus-node-exporter zsh fish
        nginx-light haproxy knot-resolver daemontools runit s6 postgresql-client openssh-client gnupg plocate tree
)

# What Debian would start as a service once it is installed: tests start it themselves.
packages_services=(
        dnsdist puppet-agent:puppet prometheus prometheus-node-exporter nginx-light:nginx haproxy knot-resolver:kresd@1
)

packages_missing() # PACKAGE… → their names, one a line
{
        local name
        for name in "$@"; do
                [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
        done
}

packages_ensure() # PACKAGE…
{
        local -a missing
        mapfile -t missing < <(packages_missing "$@")
        [ "${#missing[@]}" -gt 0 ] || return 0
        if [ "$(id -u)" -ne 0 ]; then
                echo "missing packages; as root: apt-get install ${missing[*]}" >&2
                return 1
        fi
        echo "installing (on a slow line this takes minutes): ${missing[*]}"
        packages_keep_stopped "${missing[@]}"
        packages_install "${missing[@]}"
}

packages_keep_stopped() # PACKAGE…: those among them that are services are never started as such
{
        local service
        for service in "${packages_services[@]}"; do
                case " $* " in *" ${service%%:*} "*) ;; *) continue ;; esac
                mkdir -p /etc/systemd/system
                ! ln -s /dev/null "/etc/systemd/system/${service##*:}.service" 2>/dev/null ||
                        echo "${service##*:}.service is masked: only tests need it (to have it: systemctl unmask)"
        done
}

packages_install() # PACKAGE…
{
        local log status=0
        local -a install=(apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "$@")
        log=$(mktemp) || return
        export DEBIAN_FRONTEND=noninteractive
        # The package list may be missing (a fresh machine) or too old to be served any more.
        "${install[@]}" </dev/null >"$log" 2>&1 || { apt-get update -q </dev/null && "${install[@]}" </dev/null; } >"$log" 2>&1 ||
                { status=$?; tail -n 40 "$log" >&2; }
        rm -f "$log"
        return "$status"
}

# Installs what can be; says loudly what can't.
packages_try() # PACKAGE…
{
        local name
        packages_ensure "$@" >/dev/null 2>&1 && return
        for name in "$@"; do
                packages_ensure "$name" >/dev/null 2>&1 || echo "*** CAN'T INSTALL $name: what needs it is skipped ***"
        done
        return 0
}

# True where FUSE can be used; tries to load the module.
fuse_is_there()
{
        [ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
        [ -c /dev/fuse ] && [ -r /dev/fuse ] && [ -w /dev/fuse ]
}
