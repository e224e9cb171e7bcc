# The medians as lines of tab-separated cells: one row per number, one column per daemon.

def show(digits): if . == null then "-" else . * pow(10; digits) | round / pow(10; digits) | tostring end;

def row(title; path; digits): [title, (.daemons[] | path | show(digits))];

(["", (.daemons[].name)]),
row("TCP 1 flow, Gb/s"; .median.tcp_1_flow.gbps; 2),
row("TCP 4 flows, Gb/s"; .median.tcp_4_flows.gbps; 2),
row("TCP both ways, Gb/s together"; .median.tcp_both_ways.gbps; 2),
row("TCP 1 flow / plain veth"; .ratio_to_plain_veth_1_flow.tcp_1_flow; 3),
row("TCP 4 flows / plain veth 1 flow"; .ratio_to_plain_veth_1_flow.tcp_4_flows; 3),
row("CPU s per GB, 1 flow"; .median.tcp_1_flow.cpu_per_gb; 2),
row("CPU s per GB, 4 flows"; .median.tcp_4_flows.cpu_per_gb; 2),
row("CPU s per GB, both ways"; .median.tcp_both_ways.cpu_per_gb; 2),
row("UDP 200 Mb/s: lost %"; .median.udp_200M.loss_percent; 2),
row("UDP 200 Mb/s: CPU us per packet"; .median.udp_200M.cpu_us_per_packet; 2),
row("UDP 500 Mb/s: lost %"; .median.udp_500M.loss_percent; 2),
row("UDP 500 Mb/s: CPU us per packet"; .median.udp_500M.cpu_us_per_packet; 2),
row("UDP 1000 Mb/s: lost %"; .median.udp_1000M.loss_percent; 2),
row("UDP 1000 Mb/s: CPU us per packet"; .median.udp_1000M.cpu_us_per_packet; 2),
row("UDP 64 B, 39,000 packets/s: lost %"; .median.udp_64B_20M.loss_percent; 2),
row("UDP 64 B: CPU us per packet"; .median.udp_64B_20M.cpu_us_per_packet; 2),
row("VoIP, 100 flows: lost %"; .median.voip_100_flows.loss_percent; 2),
row("VoIP, 100 flows: CPU us per packet"; .median.voip_100_flows.cpu_us_per_packet; 2),
row("RTT idle p50, ms"; .median.rtt_idle_ms.p50; 3),
row("RTT idle p99, ms"; .median.rtt_idle_ms.p99; 3),
row("RTT idle p50 / wireguard-go"; .ratio_to_wireguard_go.rtt_idle_p50; 2),
row("RTT brisk p50, ms"; .median.rtt_brisk_ms.p50; 3),
row("RTT brisk p50 / wireguard-go"; .ratio_to_wireguard_go.rtt_brisk_p50; 2),
row("RTT under TCP load p50, ms"; .median.rtt_loaded_ms.p50; 3),
row("RTT under TCP load p99, ms"; .median.rtt_loaded_ms.p99; 3),
row("idle RSS, MiB"; .median.idle_rss_mib; 1),
row("peak RSS, MiB"; .median.peak_rss_mib; 1)
| join("\t")
