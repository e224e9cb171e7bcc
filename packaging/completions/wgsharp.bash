# bash completion for wgsharp(8)

_wgsharp_disable="vnet_hdr tso4 tso6 tso uso gso gro mmsg pktinfo tos recvfragsize ipv4 ipv6 timerfd boottimer devnetns routes silence lanes recverr raw6 avx512 avx2"

# What stands behind a command.
_wgsharp_command() { # command, word before, word
	local file options="--json --watch --rates --peer --sort --top --help"
	[[ $1 != metrics ]] || options="--peers --help"
	[[ $1 != replace ]] || options="--back --dry-run --yes --help"
	case $2 in
	--sort) mapfile -t COMPREPLY < <(compgen -W "handshake rate trouble config" -- "$3"); return ;;
	--peer | --peers | --top) return ;;
	esac
	if [[ $3 == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$3")
		return
	fi
	# Interfaces that are served.
	for file in /run/wireguard/"$3"*.sock; do
		file=${file##*/} file=${file%.sock}
		[[ $file == '*' || $file == "$3*" ]] || COMPREPLY+=("$file")
	done
}

# Interfaces that are configured, and files once there is a slash in the word.
_wgsharp_doctor() { # word
	local file
	if [[ $1 == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "--json --list --help" -- "$1")
	elif [[ $1 == */* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$1")
		compopt -o filenames
	else
		for file in /etc/wireguard/"$1"*.conf; do
			[[ ! -e $file ]] || { file=${file##*/} && COMPREPLY+=("${file%.conf}"); }
		done
	fi
}

_wgsharp() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} file before
	COMPREPLY=()
	# --name=value comes in three words.
	if [[ $cur == '=' ]]; then
		cur=''
	elif [[ $prev == '=' ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [[ $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} == doctor ]]; then
		_wgsharp_doctor "$cur"
		return
	fi
	if [[ $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} == @(status|metrics|replace) ]]; then
		_wgsharp_command "${COMP_WORDS[1]}" "$prev" "$cur"
		return
	fi
	case $prev in
	--disable)
		before=
		[[ $cur != *,* ]] || before=${cur%,*},
		mapfile -t COMPREPLY < <(compgen -P "$before" -W "$_wgsharp_disable" -- "${cur##*,}")
		compopt -o nospace
		return
		;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W "silent error warning info debug trace" -- "$cur"); return ;;
	--core-dumps) mapfile -t COMPREPLY < <(compgen -W "yes no" -- "$cur"); return ;;
	--service) mapfile -t COMPREPLY < <(compgen -W "auto never" -- "$cur"); return ;;
	--mtu-policy) mapfile -t COMPREPLY < <(compgen -W "auto clamp-only kernel" -- "$cur"); return ;;
	--metrics) mapfile -t COMPREPLY < <(compgen -W "127.0.0.1:9586 none" -- "$cur"); return ;;
	--metrics-peers) mapfile -t COMPREPLY < <(compgen -W "0 100 1000" -- "$cur"); return ;;
	--threads) mapfile -t COMPREPLY < <(compgen -W "0 1 2 4 8" -- "$cur"); return ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "-f --foreground --disable= --threads= --log-level= --mtu-policy= --service= --core-dumps= --metrics= --metrics-peers= --version --help" -- "$cur")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
		return
	fi
	[[ $COMP_CWORD -gt 1 ]] || mapfile -t COMPREPLY < <(compgen -W "doctor status metrics replace" -- "$cur")
	# Interfaces that are configured and do not exist yet.
	for file in /etc/wireguard/"$cur"*.conf /etc/wgsharp/"$cur"*.conf; do
		file=${file##*/} file=${file%.conf}
		[[ $file == '*' || $file == "$cur*" || $file == wgsharp || -e /sys/class/net/$file ]] || COMPREPLY+=("$file")
	done
}

complete -F _wgsharp wgsharp
