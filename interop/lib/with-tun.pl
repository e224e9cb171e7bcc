#!/usr/bin/perl
# Attaches an interface and hands its descriptor on, as programs do that run a daemon for somebody else:
#   with-tun.pl INTERFACE FLAGS COMMAND...   FLAGS: those of TUNSETIFF; the command finds the descriptor's number in WG_TUN_FD
use strict;
use warnings;
use Fcntl;

my ($name, $flags, @command) = @ARGV;
sysopen my $tun, '/dev/net/tun', O_RDWR or die "/dev/net/tun: $!\n";
ioctl $tun, 0x400454ca, pack 'a16 S x22', $name, oct $flags or die "TUNSETIFF: $!\n";
fcntl $tun, F_SETFD, 0 or die "F_SETFD: $!\n";
$ENV{WG_TUN_FD} = fileno $tun;
exec @command or die "$command[0]: $!\n";
