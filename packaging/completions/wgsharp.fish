# fish completion for wgsharp(8)

function __wgsharp_interfaces
    for file in /etc/wireguard/*.conf /etc/wgsharp/*.conf
        set -l name (basename $file .conf)
        test $name = wgsharp; or test -e /sys/class/net/$name; or echo $name
    end
end

function __wgsharp_configured
    for file in /etc/wireguard/*.conf
        basename $file .conf
    end
end

function __wgsharp_served
    for file in /run/wireguard/*.sock
        basename $file .sock
    end
end

complete -c wgsharp -f -n 'not __fish_seen_subcommand_from doctor status metrics replace' -a '(__wgsharp_interfaces)' -d 'Interface'
complete -c wgsharp -n '__fish_is_first_token' -a doctor -d 'What this machine lacks for a tunnel'
complete -c wgsharp -n '__fish_seen_subcommand_from doctor' -F -a '(__wgsharp_configured)' -d 'Interface'
complete -c wgsharp -n '__fish_seen_subcommand_from doctor' -l json -d 'For programs'
complete -c wgsharp -n '__fish_seen_subcommand_from doctor' -l list -d 'Only say what is looked at'
complete -c wgsharp -n '__fish_is_first_token' -a status -d 'What interfaces are doing'
complete -c wgsharp -n '__fish_is_first_token' -a metrics -d 'The same for Prometheus'
complete -c wgsharp -n '__fish_seen_subcommand_from status metrics replace' -a '(__wgsharp_served)' -d 'Interface'
complete -c wgsharp -n '__fish_seen_subcommand_from status' -l json -d 'For programs'
complete -c wgsharp -n '__fish_seen_subcommand_from status' -l watch -d 'Again and again'
complete -c wgsharp -n '__fish_seen_subcommand_from status' -l rates -d 'Look twice, show bytes a second'
complete -c wgsharp -n '__fish_seen_subcommand_from status' -l peer -x -d 'Which peers'
complete -c wgsharp -n '__fish_seen_subcommand_from status' -l sort -x -a 'handshake rate trouble config' -d 'Order of peers'
complete -c wgsharp -n '__fish_seen_subcommand_from status' -l top -x -d 'No more than the first peers'
complete -c wgsharp -n '__fish_seen_subcommand_from metrics' -l peers -x -d 'How many peers have metrics of their own'
complete -c wgsharp -n '__fish_is_first_token' -a replace -d 'Take the place of another program'
complete -c wgsharp -n '__fish_seen_subcommand_from replace' -l back -d 'Go back to the program before'
complete -c wgsharp -n '__fish_seen_subcommand_from replace' -l dry-run -d 'Only say what would be done'
complete -c wgsharp -n '__fish_seen_subcommand_from replace' -l yes -d 'Do not ask'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -s f -l foreground -d 'Stay in the foreground'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l disable -x -a '(__fish_append , vnet_hdr tso4 tso6 tso uso gso gro mmsg pktinfo tos recvfragsize ipv4 ipv6 timerfd boottimer devnetns routes silence lanes recverr raw6 avx512 avx2)' -d 'Features to do without'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l mtu-policy -x -a 'auto clamp-only kernel' -d 'What is done about path MTU'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l threads -x -a '0 1 2 4 8' -d 'Threads that carry packets'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l log-level -x -a 'silent error warning info debug trace' -d 'What is logged'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l service -x -a 'auto never' -d 'Whether a unit of systemd serves the interface'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l core-dumps -x -a 'yes no' -d 'Whether a crash may leave one'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l metrics -x -a '127.0.0.1:9586 none' -d 'For Prometheus'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -l metrics-peers -x -a '0 100 1000' -d 'How many peers have metrics of their own'
complete -c wgsharp -n 'not __fish_seen_subcommand_from doctor status metrics replace' -s V -l version -d 'Print the version'
complete -c wgsharp -s h -l help -d 'Print a summary'
