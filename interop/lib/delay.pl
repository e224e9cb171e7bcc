#!/usr/bin/perl
# A long way between two UDP endpoints, where there is no netem: whatever one end sends to its side of this program leaves the other side for the
# other end a while later, in order.
#   delay.pl MILLISECONDS SIDE-OF-A END-A SIDE-OF-B END-B      each ADDRESS:PORT, IPv4
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Socket qw(MSG_DONTWAIT inet_aton pack_sockaddr_in);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($milliseconds, @names) = @ARGV;
my ($side_a, $end_a, $side_b, $end_b) = map { [split /:/] } @names;
die "usage: delay.pl MILLISECONDS SIDE-OF-A END-A SIDE-OF-B END-B\n" unless $end_b;

sub side { IO::Socket::INET->new(Proto => 'udp', LocalAddr => $_[0][0], LocalPort => $_[0][1]) or die "@{$_[0]}: $!\n" }
sub end { pack_sockaddr_in($_[0][1], inet_aton($_[0][0])) }
sub now { clock_gettime(CLOCK_MONOTONIC) }

my ($at_a, $at_b) = (side($side_a), side($side_b));
my %onward = (fileno($at_a) => [$at_b, end($end_b)], fileno($at_b) => [$at_a, end($end_a)]);
my $select = IO::Select->new($at_a, $at_b);
my @under_way;
while (1) {
    # All take equally long: what came first leaves first.
    my $wait = @under_way ? $under_way[0][0] - now() : undef;
    for my $socket ($wait && $wait < 0 ? () : $select->can_read($wait)) {
        while (defined $socket->recv(my $message, 65535, MSG_DONTWAIT)) {
            push @under_way, [now() + $milliseconds / 1000, @{ $onward{ fileno $socket } }, $message];
        }
    }
    while (@under_way and $under_way[0][0] <= now()) {
        my (undef, $through, $to, $message) = @{ shift @under_way };
        # An end whose socket is closed just now answers with an ICMP error: to it, the message is lost.
        $through->send($message, 0, $to);
    }
}
