using WgSharp.Engine;
using WgSharp.Protocol;

namespace WgSharp.Linux.Tests;

/// <summary>The raw socket of fragments over IPv6: the most it sends, and what becomes of what it cannot send.</summary>
public sealed class FragmentSenderTests : IDisposable
{
    private const ushort Port = 4000;

    private readonly TestNamespace _namespace = new();

    public void Dispose() => _namespace.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_largest_datagram_arrives_in_the_smallest_fragments(bool mmsg)
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket b = UdpDatagrams.Open(far, KernelFeature.None, out ushort port);
        using FragmentSender fragments = Open();
        byte[] largest = Packets.Payload(65_527);
        OutboundRun run = RunTo("fd08::2", port, largest.Length, fragmentAt: 1);
        Assert.True(TrySend(fragments, largest, ref run, mmsg));
        Assert.Equal(SendOutcome.Sent, run.Outcome);
        ReceivedDatagram received = UdpDatagrams.Receive(b, 1)[0];
        Assert.Equal(largest, received.Bytes);
        Assert.Equal(Port, received.Train.Source.Port);

        // Whole portions of 8 bytes, in 1272.
        Assert.Equal(1272, received.Train.FragmentSize);
    }

    [Fact]
    public void Each_message_of_a_run_has_its_own_checksum()
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        using UdpSocket b = UdpDatagrams.Open(far, KernelFeature.None, out ushort port);
        using FragmentSender fragments = Open();
        byte[] messages = Packets.Payload(5 * 1400);
        OutboundRun run = RunTo("fd08::2", port, messages.Length, stride: 1400);
        Assert.True(TrySend(fragments, messages, ref run, mmsg: true));
        Assert.Equal(SendOutcome.Sent, run.Outcome);
        Assert.Equal(messages, UdpDatagrams.Receive(b, 5).SelectMany(datagram => datagram.Bytes));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public unsafe void What_a_full_socket_does_not_take_is_lost_and_no_other_way_is_tried(bool mmsg)
    {
        using var far = new TestNamespace();
        _namespace.Connect(far, 1500);
        _namespace.Command("tc", "qdisc add dev up0 root tbf rate 8kbit burst 1600 limit 1000000");
        using FileDescriptor socket = Socket();
        int small = 1;
        Assert.Equal(0, Libc.setsockopt(socket, Libc.SOL_SOCKET, Libc.SO_SNDBUF, &small, sizeof(int)));
        using FragmentSender fragments = _namespace.Run(() => new FragmentSender(socket, Port));
        byte[] messages = Packets.Payload(4 * 6000);

        // The socket takes a part of the first message, and then nothing.
        for (int i = 0; i < 2; i++)
        {
            OutboundRun run = RunTo("fd08::2", 9, messages.Length, stride: 6000);
            Assert.True(TrySend(fragments, messages, ref run, mmsg));
            Assert.Equal(SendOutcome.Lost, run.Outcome);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Where_not_even_the_first_leaves_another_way_may_do(bool mmsg)
    {
        using FragmentSender fragments = Open();
        byte[] messages = Packets.Payload(2800);
        OutboundRun run = RunTo("fd08::2", 9, messages.Length, stride: 1400);
        Assert.False(TrySend(fragments, messages, ref run, mmsg));
    }

    [Fact]
    public void A_closed_one_sends_nothing()
    {
        using FragmentSender fragments = Open();
        fragments.Dispose();
        byte[] message = Packets.Payload(1400);
        OutboundRun run = RunTo("::1", 9, message.Length);
        Assert.False(TrySend(fragments, message, ref run, mmsg: true));
    }

    [Fact]
    public unsafe void Its_socket_has_the_buffer_of_the_others()
    {
        using FileDescriptor socket = Socket();
        int bytes;
        uint length = sizeof(int);
        Assert.Equal(0, Libc.getsockopt(socket, Libc.SOL_SOCKET, Libc.SO_SNDBUF, &bytes, &length));
        Assert.Equal(14 << 20, bytes);
    }

    private static OutboundRun RunTo(string address, ushort port, int length, int stride = 0, int fragmentAt = 1300) => new()
    {
        Count = stride == 0 ? 1 : length / stride,
        Length = length,
        Stride = stride,
        Endpoint = Packets.Endpoint(address, port),
        FragmentAt = fragmentAt,
    };

    private static unsafe bool TrySend(FragmentSender fragments, byte[] messages, ref OutboundRun run, bool mmsg)
    {
        InetAddress source = Packets.Endpoint("fd08::1", 0).Remote.Address;
        fixed (byte* start = messages)
        {
            return fragments.TrySend(start, ref run, source, [], trafficClass: 0, hopLimit: 0, mmsg);
        }
    }

    private FileDescriptor Socket() => _namespace.Run(() => FragmentSender.Open(0, out _))!;

    private FragmentSender Open() => _namespace.Run(() => new FragmentSender(FragmentSender.Open(0, out _)!, Port));
}
