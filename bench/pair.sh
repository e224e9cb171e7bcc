#!/bin/bash
# Two network namespaces with a veth pair between them and a daemon in each: what the scripts that load a whole tunnel share.
# Sourced. The script brings `fail`, `eventually`'s patience is ten seconds, and command_of[NAME] is how a daemon is started: the
# interface's name is appended. create_namespaces once, then start_daemons NAME and stop_daemons as often as wanted.

scratch=$(mktemp -d)
left=wgbench-left-$$
right=wgbench-right-$$
left_if=wgbl$$
right_if=wgbr$$
daemon_pids=()

cleanup() {
    stop_daemons
    for ns in "$left" "$right"; do
        ip netns pids "$ns" 2>/dev/null | xargs -r kill 2>/dev/null || true
        ip netns delete "$ns" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# eventually COMMAND...: until it succeeds, at most ten seconds
eventually() {
    local tries=200
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

inside() { local ns=$1; shift; ip netns exec "$ns" "$@"; }

# is_listening PORT: TCP, on the right
is_listening() { inside "$right" ss -Hltn "sport = :$1" | grep -q .; }

create_namespaces() {
    ip netns add "$left"
    ip netns add "$right"
    ip link add veth0 netns "$left" mtu 1500 type veth peer name veth0 netns "$right"
    inside "$left" ip address add 192.0.2.1/24 dev veth0
    inside "$right" ip address add 192.0.2.2/24 dev veth0
    local ns
    for ns in "$left" "$right"; do
        inside "$ns" ip link set lo up
        inside "$ns" ip link set veth0 up
    done
    for side in left right; do
        (umask 077; wg genkey > "$scratch/$side.key")
        wg pubkey < "$scratch/$side.key" > "$scratch/$side.pub"
    done
}

# start_daemon NAME NAMESPACE INTERFACE: appends the process ids to daemon_pids
start_daemon() {
    local name=$1 ns=$2 interface=$3 before pid command
    before=" $(ip netns pids "$ns" | tr '\n' ' ')"
    # shellcheck disable=SC2154 # the script's
    read -r -a command <<< "${command_of[$name]}"
    # shellcheck disable=SC2024 # the log belongs to the script
    ip netns exec "$ns" "${command[@]}" "$interface" > "$scratch/$name-$interface.log" 2>&1 < /dev/null &
    if ! eventually inside "$ns" wg show "$interface"; then
        cat "$scratch/$name-$interface.log" >&2
        fail "$name did not start"
    fi
    for pid in $(ip netns pids "$ns"); do
        case $before in *" $pid "*) ;; *) daemon_pids+=("$pid") ;; esac
    done
}

# configure NAMESPACE INTERFACE SIDE OTHER-SIDE NUMBER OTHER-NUMBER
configure() {
    inside "$1" wg set "$2" listen-port 51820 private-key "$scratch/$3.key" \
        peer "$(cat "$scratch/$4.pub")" endpoint "192.0.2.$6:51820" allowed-ips "10.99.0.$6/32"
    inside "$1" ip address add "10.99.0.$5/24" dev "$2"
    inside "$1" ip link set "$2" mtu 1420 up
}

start_daemons() {
    daemon_pids=()
    peer_address=192.0.2.2
    [ "$1" != veth ] || return 0
    start_daemon "$1" "$left" "$left_if"
    start_daemon "$1" "$right" "$right_if"
    configure "$left" "$left_if" left right 1 2
    configure "$right" "$right_if" right left 2 1
    peer_address=10.99.0.2
    eventually inside "$left" ping -c 1 -W 1 "$peer_address" || fail "$1: no answer through the tunnel"
}

stop_daemons() {
    local pid
    for pid in "${daemon_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${daemon_pids[@]}"; do eventually process_is_gone "$pid" || kill -9 "$pid" 2>/dev/null || true; done
    daemon_pids=()
    wait
}

process_is_gone() { [ ! -d "/proc/$1" ] || grep -q '^State:.*zombie' "/proc/$1/status" 2>/dev/null; }

# Fails if a daemon died: its numbers would be nonsense.
require_alive() {
    local pid
    for pid in "${daemon_pids[@]}"; do
        ! process_is_gone "$pid" || { tail "$scratch"/*.log >&2; fail "a daemon died"; }
    done
}

# memory FIELD: the larger one of the daemons, in MiB (VmRSS: now; VmHWM: the most it ever was)
memory() {
    local pid
    for pid in "${daemon_pids[@]}"; do awk -v field="$1:" '$1 == field { print $2 / 1024 }' "/proc/$pid/status"; done |
        sort -n | awk '{ most = $1 } END { print NR ? most : "null" }'
}
