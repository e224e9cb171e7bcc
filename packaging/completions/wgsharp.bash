# bash completion for wgsharp(8)

_wgsharp_disable="vnet_hdr tso4 tso6 tso uso gso gro mmsg pktinfo tos recvfragsize ipv4 ipv6 timerfd boottimer devnetns routes silence lanes recverr raw6 avx512 avx2"

_wgsharp() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} file before
	COMPREPLY=()
	# --name=value comes in three words.
	if [[ $cur == '=' ]]; then
		cur=''
	elif [[ $prev == '=' ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
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
	--threads) mapfile -t COMPREPLY < <(compgen -W "0 1 2 4 8" -- "$cur"); return ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "-f --foreground --disable= --threads= --log-level= --mtu-policy= --service= --core-dumps= --version --help" -- "$cur")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
		return
	fi
	# Interfaces that are configured and do not exist yet.
	for file in /etc/wireguard/"$cur"*.conf /etc/wgsharp/"$cur"*.conf; do
		file=${file##*/} file=${file%.conf}
		[[ $file == '*' || $file == "$cur*" || $file == wgsharp || -e /sys/class/net/$file ]] || COMPREPLY+=("$file")
	done
}

complete -F _wgsharp wgsharp
