# The medians as an SVG: one panel of bars per number, one bar per daemon.

def escaped: gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub(">"; "&gt;");

def shown: if . >= 100 then round elif . >= 10 then (. * 10 | round / 10) else (. * 100 | round / 100) end | tostring;

def colour: if . == "wgsharp" then "#2563eb" elif . == "veth" then "#cbd5e1" else "#94a3b8" end;

# {name, value} of the daemons that have this number
def bars(path): [.daemons[] | {name: .name, value: path} | select(.value != null)];

def panels: [
    {title: "TCP, 1 flow: Gb/s (more is better)", bars: bars(.median.tcp_1_flow.gbps)},
    {title: "TCP, 4 flows: Gb/s (more is better)", bars: bars(.median.tcp_4_flows.gbps)},
    {title: "CPU seconds per GB, both ends (less is better)", bars: bars(.median.tcp_1_flow.cpu_per_gb) | map(select(.name != "veth"))},
    {title: "RTT idle, median, ms (less is better)", bars: bars(.median.rtt_idle_ms.p50)},
    {title: "RTT under TCP load, median, ms (less is better)", bars: bars(.median.rtt_loaded_ms.p50)},
    {title: "peak RSS, MiB (less is better)", bars: bars(.median.peak_rss_mib)}
] | map(select(.bars | length > 0));

def panel_height: 34 + 24 * (.bars | length);

def draw(top):
    ([.bars[].value] | max) as $most
    | "<text x=\"16\" y=\"\(top + 20)\" class=\"title\">\(.title | escaped)</text>",
      (.bars | to_entries[]
       | (top + 30 + 24 * .key) as $y
       | (if $most > 0 then 460 * .value.value / $most else 0 end) as $width
       | "<text x=\"150\" y=\"\($y + 14)\" text-anchor=\"end\">\(.value.name | escaped)</text>",
         "<rect x=\"158\" y=\"\($y)\" width=\"\($width * 10 | round / 10)\" height=\"18\" rx=\"2\" fill=\"\(.value.name | colour)\"/>",
         "<text x=\"\(164 + $width | round)\" y=\"\($y + 14)\">\(.value.value | shown)</text>");

panels as $panels
| (reduce $panels[] as $panel ([40]; . + [.[-1] + ($panel | panel_height)])) as $tops
| "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"700\" height=\"\($tops[-1] + 16)\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#0f172a\">",
  "<style>.title { font-weight: bold; }</style>",
  "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
  "<text x=\"16\" y=\"24\" fill=\"#64748b\">\("\(.date[:10]), \(.machine.cpu), \(.machine.cores) cores for both ends, Linux \(.machine.kernel), medians of \(.rounds) rounds" | escaped)</text>",
  ($panels | to_entries[] | . as $entry | $entry.value | draw($tops[$entry.key])),
  "</svg>"
