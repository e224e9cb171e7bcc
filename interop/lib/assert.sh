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

# await SECONDS 'what' COMMAND... : until the command succeeds; prints how long it took.
await() {
	local limit=$1 what=$2 from=${EPOCHREALTIME/[.,]/} now
	shift 2
	until "$@" >/dev/null 2>&1; do
		now=${EPOCHREALTIME/[.,]/}
		[[ $((now - from)) -lt $((limit * 1000000)) ]] || fail "$what: not within $limit s"
		read -r -t 0.02 <&7 || true
	done
	now=${EPOCHREALTIME/[.,]/}
	note "$what: after $(((now - from) / 1000)) ms"
}

# The same without a word, for what every scenario has to wait for.
quietly_await() {
	await "$@" 3>/dev/null || fail "${*:2}: not within $1 s"
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
