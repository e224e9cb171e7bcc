#!/bin/bash
# What a result was measured on, as JSON. Sourced.

machine() {
    jq -nc --arg cpu "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" --arg kernel "$(uname -r | cut -d- -f1)" \
        --argjson cores "$(nproc)" --argjson memory "$(awk '/^MemTotal/ { print int($2 / 1000) }' /proc/meminfo)" \
        --arg flags "$(grep -m1 -o -w -e avx512f /proc/cpuinfo || grep -m1 -o -w -e avx2 /proc/cpuinfo || true)" \
        '{cpu: $cpu, cores: $cores, vectors: $flags, memory_mb: $memory, kernel: $kernel}'
}
