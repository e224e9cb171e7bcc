# fish completion for wgsharp(8)

function __wgsharp_interfaces
    for file in /etc/wireguard/*.conf /etc/wgsharp/*.conf
        set -l name (basename $file .conf)
        test $name = wgsharp; or test -e /sys/class/net/$name; or echo $name
    end
end

complete -c wgsharp -f -a '(__wgsharp_interfaces)' -d 'Interface'
complete -c wgsharp -s f -l foreground -d 'Stay in the foreground'
complete -c wgsharp -l disable -x -a '(__fish_append , vnet_hdr tso4 tso6 tso uso gso gro mmsg pktinfo tos recvfragsize ipv4 ipv6 timerfd boottimer devnetns routes silence lanes recverr raw6 avx512 avx2)' -d 'Features to do without'
complete -c wgsharp -l mtu-policy -x -a 'auto clamp-only kernel' -d 'What is done about path MTU'
complete -c wgsharp -l threads -x -a '0 1 2 4 8' -d 'Threads that carry packets'
complete -c wgsharp -l log-level -x -a 'silent error warning info debug trace' -d 'What is logged'
complete -c wgsharp -l service -x -a 'auto never' -d 'Whether a unit of systemd serves the interface'
complete -c wgsharp -l core-dumps -x -a 'yes no' -d 'Whether a crash may leave one'
complete -c wgsharp -s V -l version -d 'Print the version'
complete -c wgsharp -s h -l help -d 'Print a summary'
