#!/bin/bash
# One turn of bench/pressure as interop/lib/scenario runs it: row $ROW of the daemon $TESTED. Sourced.

# shellcheck disable=SC2154  # library is the runner's
# shellcheck source=interop/lib/pressure.sh
. "$library/pressure.sh"

scenario_row() { "row_$ROW" tested; }
