# The turns of all rounds -> one document: per daemon the median of every number, and each turn as it was measured.

def median: map(select(type == "number")) | sort | if length == 0 then null else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;

# Objects of the same shape, some of them null where nothing could be measured -> one object of medians.
def medians:
    map(select(. != null)) as $given
    | if ($given | length) == 0 then null
      elif ($given[0] | type) == "object" then
          reduce ($given | map(keys_unsorted[]) | unique[] | select(. != "error")) as $key ({}; .[$key] = ($given | map(.[$key]) | medians))
      else $given | median end;

def order: reduce .[] as $turn ([]; if index($turn.name) then . else . + [$turn.name] end);

. as $turns
| {date: $date, machine: $machine, revision: $revision, rounds: $rounds, seconds: $seconds,
   daemons: [order[] as $name | {name: $name, median: ($turns | map(select(.name == $name).result) | medians),
                                 turns: ($turns | map(select(.name == $name).result))}]}
| (.daemons | map(select(.name == "veth")) | .[0].median) as $veth
| .daemons |= map(. as $daemon | .ratio_to_plain_veth_1_flow = (
      if $veth == null or $daemon.name == "veth" then null
      else {tcp_1_flow: ($daemon.median.tcp_1_flow.gbps / $veth.tcp_1_flow.gbps), tcp_4_flows: ($daemon.median.tcp_4_flows.gbps / $veth.tcp_1_flow.gbps)} end))
| (.daemons | map(select(.name == "wireguard-go")) | .[0].median) as $reference
| .daemons |= map(. as $daemon | .ratio_to_wireguard_go = (
      if $reference == null or $daemon.name == "veth" or $daemon.name == "wireguard-go" then null
      else {tcp_1_flow: ($daemon.median.tcp_1_flow.gbps / $reference.tcp_1_flow.gbps),
            rtt_idle_p50: ($daemon.median.rtt_idle_ms.p50 / $reference.rtt_idle_ms.p50),
            rtt_brisk_p50: ($daemon.median.rtt_brisk_ms.p50 / $reference.rtt_brisk_ms.p50),
            cpu_per_gb: ($daemon.median.tcp_1_flow.cpu_per_gb / $reference.tcp_1_flow.cpu_per_gb)} end))
