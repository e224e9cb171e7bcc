#!/usr/bin/perl
# Nonsense of every kind, from a seed, so that a failure can be repeated.
#   hostile.pl datagrams SEED COUNT ADDRESS PORT [FILE]   datagrams of every length and type, random and mutated; FILE
#                                                         holds real messages to mutate, one in hexadecimal per line
#   hostile.pl packets SEED COUNT INTERFACE               packets into the tunnel interface (AF_PACKET)
#   hostile.pl uapi SEED COUNT SOCKET                     configuration requests; prints what each kind was answered
use strict;
use warnings;
use Socket qw(:DEFAULT inet_pton getaddrinfo);
use IO::Socket::UNIX;

my ($mode, $seed, $count, @rest) = @ARGV;
srand($seed);

# Drawn once; slices of it are random enough.
my $pool = join '', map { chr int rand 256 } 1 .. 1 << 18;

sub random_bytes { substr $pool, int rand(length($pool) - $_[0]), $_[0] }

sub some_length {
    my $kind = int rand 10;
    return (0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149)[int rand 18] if $kind < 4;
    return int rand 200 if $kind < 7;
    return int rand 2000 if $kind < 9;
    return int rand 65508;
}

sub mutate {
    my ($message) = @_;
    for (1 .. 1 + int rand 4) {
        my $kind = int rand 4;
        my $at = int rand(length($message) || 1);
        if ($kind == 0 and length $message) { substr($message, $at, 1) = chr int rand 256 }
        elsif ($kind == 1 and length $message) { substr($message, $at, 1) ^= chr(1 << int rand 8) }
        elsif ($kind == 2) { $message = substr($message, 0, $at) }
        else { $message .= random_bytes(int rand 40) }
    }
    return $message;
}

sub datagrams {
    my ($address, $port, $file) = @_;
    my ($error, $to) = getaddrinfo($address, $port, { socktype => SOCK_DGRAM });
    die "$error\n" if $error;
    my @real;
    if ($file) {
        open my $in, '<', $file or die "$file: $!\n";
        @real = map { chomp; pack 'H*', $_ } <$in>;
    }
    socket(my $socket, $to->{family}, SOCK_DGRAM, 0) or die "socket: $!\n";
    my @types = (0 .. 5, 255, 256, 1 << 16, 0x01000001, 0xffffffff);
    for (1 .. $count) {
        my $kind = int rand 3;
        my $message;
        if ($kind == 0 and @real) { $message = mutate($real[int rand @real]) }
        elsif ($kind == 1) { $message = random_bytes(some_length()) }
        else { $message = substr(pack('V', $types[int rand @types]) . random_bytes(some_length()), 0, 65507) }
        # A full buffer or an ICMP error of an earlier one: the next one is as good.
        send($socket, $message, 0, $to->{addr});
    }
}

sub packets {
    my ($interface) = @_;
    socket(my $socket, 17, SOCK_RAW, 0) or die "packet socket: $!\n";
    open my $in, '<', "/sys/class/net/$interface/ifindex" or die "$interface: $!\n";
    my $index = <$in> + 0;
    my %protocol = (4 => 0x0800, 6 => 0x86dd);
    for (1 .. $count) {
        my $version = rand() < 0.5 ? 4 : 6;
        my $packet = random_bytes(1 + int rand(rand() < 0.1 ? 1420 : 100));
        substr($packet, 0, 1) = chr(($version << 4) | (rand() < 0.7 ? 5 : int rand 16)) if rand() < 0.9;
        # Often an address that belongs to a peer, and a length that may be true or not.
        if ($version == 4 and length $packet >= 20) {
            substr($packet, 2, 2) = pack 'n', (rand() < 0.5 ? length $packet : int rand 65536);
            substr($packet, 9, 1) = chr((1, 6, 17, 47, int rand 256)[int rand 5]);
            substr($packet, 16, 4) = inet_pton(AF_INET, '192.168.241.2') if rand() < 0.7;
        }
        elsif ($version == 6 and length $packet >= 40) {
            substr($packet, 4, 2) = pack 'n', (rand() < 0.5 ? length($packet) - 40 : int rand 65536);
            substr($packet, 6, 1) = chr((0, 6, 17, 43, 44, 58, 60, int rand 256)[int rand 8]);
            substr($packet, 24, 16) = inet_pton(AF_INET6, 'fd00::2') if rand() < 0.7;
        }
        send($socket, $packet, 0, pack('S n l S C C a8', 17, $protocol{$version}, $index, 0, 0, 0, ''));
    }
}

# One request; returns the number in its errno line, or a word when there was none.
sub ask {
    my ($path, $text) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!\n";
    $socket->print($text);
    $socket->flush;
    shutdown $socket, 1;
    my $answer = '';
    while (my $line = <$socket>) { $answer .= $line }
    return $answer =~ /^errno=(-?\d+)$/m ? $1 : 'nothing';
}

sub uapi {
    my ($path) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $key = 'a' x 64;
    # Each of these is wrong in one way; the last line of a request decides, and nothing of it may be applied.
    my %wrong = (
        'unknown key'          => "set=1\nfavourite_colour=blue\n\n",
        'no equals sign'       => "set=1\nlisten_port\n\n",
        'port too big'         => "set=1\nlisten_port=65536\n\n",
        'port not a number'    => "set=1\nlisten_port=x\n\n",
        'port empty'           => "set=1\nlisten_port=\n\n",
        'port negative'        => "set=1\nlisten_port=-1\n\n",
        'mark too big'         => "set=1\nfwmark=4294967296\n\n",
        'private key short'    => "set=1\nprivate_key=abc\n\n",
        'private key not hex'  => "set=1\nprivate_key=" . 'g' x 64 . "\n\n",
        'replace_peers false'  => "set=1\nreplace_peers=false\n\n",
        'public key short'     => "set=1\npublic_key=ab\n\n",
        'peer key first'       => "set=1\nendpoint=1.2.3.4:5\n\n",
        'endpoint no port'     => "set=1\npublic_key=$key\nendpoint=1.2.3.4\n\n",
        'endpoint name'        => "set=1\npublic_key=$key\nendpoint=example.org:1\n\n",
        'endpoint port 65536'  => "set=1\npublic_key=$key\nendpoint=1.2.3.4:65536\n\n",
        'endpoint v6 open'     => "set=1\npublic_key=$key\nendpoint=[fd00::1:1\n\n",
        'keepalive 65536'      => "set=1\npublic_key=$key\npersistent_keepalive_interval=65536\n\n",
        'allowed ip no cidr'   => "set=1\npublic_key=$key\nallowed_ip=10.0.0.0\n\n",
        'allowed ip /33'       => "set=1\npublic_key=$key\nallowed_ip=10.0.0.0/33\n\n",
        'allowed ip v6 /129'   => "set=1\npublic_key=$key\nallowed_ip=fd00::/129\n\n",
        'allowed ip words'     => "set=1\npublic_key=$key\nallowed_ip=all/0\n\n",
        'protocol version 2'   => "set=1\npublic_key=$key\nprotocol_version=2\n\n",
        'good, then wrong'     => "set=1\nlisten_port=4242\npublic_key=$key\nallowed_ip=10.99.0.0/16\nno_such_key=1\n\n",
    );
    for my $name (sort keys %wrong) {
        print "$name: ", ask($path, $wrong{$name}), "\n";
    }
    my @lines = values %wrong;
    for (1 .. $count) {
        my $kind = int rand 6;
        my $text = $kind == 0 ? random_bytes(int rand 3000)
          : $kind == 1 ? "set=1\n" . random_bytes(int rand 3000) . "\n\n"
          : $kind == 2 ? 'set=1' . "\n" . 'x' x (1 + int rand 200000)
          : $kind == 3 ? 'get=' . random_bytes(3) . "\n\n"
          : mutate($lines[int rand @lines]);
        my $socket = IO::Socket::UNIX->new(Peer => $path) or die "request $_: $path: $!\n";
        $socket->print($text);
        $socket->flush;
        # Some leave without reading the answer, some without waiting for it.
        if (rand() < 0.8) {
            shutdown $socket, 1;
            my $answer = '';
            while (my $line = <$socket>) { $answer .= $line }
        }
    }
    print "random requests sent, $count\n";
}

my %modes = (datagrams => \&datagrams, packets => \&packets, uapi => \&uapi);
($modes{$mode // ''} or die "usage: hostile.pl datagrams|packets|uapi SEED COUNT ...\n")->(@rest);
