# The turns of bench/pressure -> lines of tab-separated cells: what, what it must be, and for each daemon the median and in
# parentheses the worst (of an even number of turns the worse of the two in the middle). ">": not within the time that the row waits.

# row, what, figure, must be, and whether a larger figure is worse
def lines:
    [1, "1 flood from within: of 200 packets/s from the peer came", "delivered_of_200", ">= 180", false],
    [1, "1 longest gap between two of them, ms", "longest_gap_ms", "", true],
    [1, "1 a third peer's handshake meanwhile, ms", "handshake_ms", "completes", true],
    [1, "1 (the flood, datagrams/s)", "flood_per_second", "", false],
    [2, "2 another peer's link is narrow: pings lost, %", "lost_percent", "0", true],
    [2, "2 pings, median, ms", "median_ms", "<= 5", true],
    [2, "2 pings, worst, ms", "worst_ms", "", true],
    ((["tcp", "1"], ["tcp", "2"], ["udp", "1"], ["udp", "2"]) as [$by, $threads]
        | [3, "3 uplink full by \($by | ascii_upcase), \($threads) thread(s): of the download lost, %", "lost_percent_\($by)_\($threads)", "0", true],
          [3, "3 longest gap in it, ms", "longest_gap_ms_\($by)_\($threads)", "<= 50", true]),
    [4, "4 SIGTERM while a send waits: gone after, ms", "until_gone_ms", "<= 1000", true],
    ([5, "5 junk in bursts, wrong mac1", "<= 200"], [6, "6 junk without a pause, wrong mac1", "<= 1000"], [7, "7 junk without a pause, valid mac1", "<= 6000"]
        | . as [$row, $title, $must]
        | [$row, "\($title): new session, median, ms", "session_median_ms", "", true],
          [$row, "\($row) new session, worst, ms", "session_worst_ms", $must, true],
          [$row, "\($row) pings in another session lost, %", "pings_lost_percent", "0", true],
          [$row, "\($row) wg show, worst, ms", "show_worst_ms", "<= 100", true],
          [$row, "\($row) (the junk, initiations/s)", "junk_per_second", "", false]),
    [8, "8 both begin at once, 300 ms apart: session, median, ms", "both_median_ms", "<= 1500", true],
    [8, "8 session, worst, ms", "both_worst_ms", "<= 3000", true],
    ((["400", "<= 500"], ["1000", "<= 1000"], ["10000", ""], ["addconf", ""]) as [$peers, $must]
        | (if $peers == "addconf" then "10,000 by addconf" else $peers + " peers" end) as $what
        | (if $peers == "addconf" then [9, "9 addconf of 10,000 itself, ms", "addconf_ms", "", true] else empty end),
          [9, "9 \($what): all have a session, ms", "all_ms_\($peers)", $must, true],
          [9, "9 \($what): sessions when it ended", "sessions_\($peers)", "all", false],
          [9, "9 \($what): retransmissions", "retransmissions_\($peers)", "", true],
          [9, "9 \($what): cookie replies to own answers", "cookie_replies_\($peers)", "0", true],
          [9, "9 \($what): wg show, worst, ms", "show_worst_ms_\($peers)", "<= 100", true],
          [9, "9 \($what): the daemon's answer alone, worst, ms", "answer_worst_ms_\($peers)", "", true]);

def order: reduce .[] as $turn ([]; if index($turn.name) then . else . + [$turn.name] end);

def show: (if .over then "> " else "" end)
    + (.value | (if . >= 100 or . == floor then round else . * 100 | round / 100 end) | tostring);

# From the best to the worst; a ">" is beyond every number.
def ranked($larger_is_worse): sort_by([.over, .value]) | if $larger_is_worse then . else reverse end;

def cell($larger_is_worse):
    if length == 0 then "-" else ranked($larger_is_worse) as $ranked
    | if length == 1 then $ranked[0] | show else "\($ranked[(length - 1) / 2 | ceil] | show) (\($ranked[-1] | show))" end end;

.turns as $turns
| ($turns | order) as $names
| (["", "must be"] + $names),
  (lines as [$row, $what, $figure, $must, $larger_is_worse]
   | select(any($turns[]; .row == $row))
   | [$what, $must] + [$names[] as $name
       | $turns | map(select(.name == $name and .row == $row))
       | (map(select(.figures.failed)) | length) as $failed
       | (map(.figures[$figure] | select(. != null)) | cell($larger_is_worse)) + (if $failed > 0 then ", \($failed) failed" else "" end)])
| join("\t")
