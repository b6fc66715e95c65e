# shellcheck shell=bash disable=SC2034
# What the project needs from Debian 12, and one function that brings what is missing. Where everything is there it
# asks dpkg alone: no network, no root. To be sourced (tests/run, tests/demo).

# To build and to use it.
packages_build=(
        gcc libc6-dev pkgconf meson ninja-build
        libfuse3-dev fuse3 libcurl4-openssl-dev libcjson-dev libssl-dev libseccomp-dev
)
# To watch it with the local stand-in.
packages_demo=(
        "${packages_build[@]}" libcmocka-dev python3 curl jq openssl util-linux procps ca-certificates
)
# To test it.
packages_test=(
        "${packages_demo[@]}"
        clang llvm libclang-rt-14-dev clang-format clang-tidy cppcheck shellcheck valgrind
        python3-pytest python3-pytest-timeout python3-pytest-xdist python3-botocore python3-prometheus-client
        attr acl rsync tar findutils git gettext-base inotify-tools
        systemd man-db mandoc dpkg-dev debhelper lintian
)

# Containers and configuration management: large, and not everywhere; each is installed by itself, if it can be.
packages_containers=(
        busybox-static bubblewrap crun runc uidmap podman systemd-container python3-yaml ansible-core puppet-agent
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
        echo "installing: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        local -a install=(apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}")
        # The package list may be missing (a fresh machine) or too old to be served any more.
        "${install[@]}" </dev/null >/dev/null 2>&1 || { apt-get update -q </dev/null && "${install[@]}" </dev/null; }
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
