#!/bin/bash
# What scenarios say and demand. Every assertion prints what was measured, whether it holds or not. Sourced.

note() { printf '%s\n' "$*" >&3; }

fail() {
	note "FAILED: $*"
	exit 1
}

# check 'what was measured' VALUE OPERATOR BOUND, with operators of test(1) or bash: -eq -le -lt -ge -gt == != =~
check() {
	local what=$1 value=$2 operator=$3 bound=$4 holds=1
	case $operator in
	==) [[ $value == "$bound" ]] || holds=0 ;;
	!=) [[ $value != "$bound" ]] || holds=0 ;;
	=~) [[ $value =~ $bound ]] || holds=0 ;;
	*) [[ $value =~ ^-?[0-9]+$ ]] && test "$value" "$operator" "$bound" || holds=0 ;;
	esac
	if [[ $holds -eq 0 ]]; then
		fail "$what: $value, wanted $operator $bound"
	fi
	case $operator in
	==) note "$what: $value" ;;
	*) note "$what: $value ($operator $bound)" ;;
	esac
}

# Until the command succeeds; leaves in $waited how many milliseconds it took. Fails after SECONDS. Looks every 20 ms, and more seldom the longer it
# takes (every sixteenth of what it has taken, half a second at most): a look costs processes, and who waits must not take the processor from what he waits for.
waited=0
comes_true() { # seconds command...
	local limit=$1 from=${EPOCHREALTIME/[.,]/} pause
	shift
	until "$@" >/dev/null 2>&1; do
		waited=$(((${EPOCHREALTIME/[.,]/} - from) / 1000))
		[[ $waited -lt $((limit * 1000)) ]] || return 1
		pause=$((waited < 320 ? 20 : waited < 8000 ? waited / 16 : 500))
		printf -v pause '0.%03d' "$pause"
		read -r -t "$pause" <&7 || true
	done
	waited=$(((${EPOCHREALTIME/[.,]/} - from) / 1000))
}

# await SECONDS 'what' COMMAND... : demands that the command succeeds in time, and prints how long it took.
await() {
	comes_true "$1" "${@:3}" || fail "$2: not within $1 s"
	note "$2: after $waited ms"
}

# The same without a word, for what every scenario has to wait for.
quietly_await() {
	comes_true "$1" "${@:3}" || fail "$2: not within $1 s"
}

# Lets time pass where passing time is the thing under test ("for 3 s nothing is sent").
elapse() { read -r -t "$1" <&7 || true; }

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

refuses() { # command that has to fail
	! "$@" >/dev/null 2>&1 || fail "succeeded, but has to fail: $*"
}

# How many lines match (an extended regular expression, or -F and a string), 0 included.
occurrences() {
	if [[ $1 == -F ]]; then
		grep -cF -- "${@:2}" || true
	else
		grep -cE -- "$@" || true
	fi
}
