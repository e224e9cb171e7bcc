using System.Net.Sockets;
using System.Text;

namespace WgSharp.Linux.Tests;

/// <summary>Files in memory, and what systemd is told of them.</summary>
public sealed class DescriptorStoreTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("wgsharp").FullName;
    private readonly Socket _manager = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    public DescriptorStoreTests()
    {
        string path = Path.Combine(_directory, "notify");
        _manager.Bind(new UnixDomainSocketEndPoint(path));
        Environment.SetEnvironmentVariable("NOTIFY_SOCKET", path);
        Environment.SetEnvironmentVariable(DescriptorStore.CapacityVariable, "8");
    }

    public void Dispose()
    {
        Environment.SetEnvironmentVariable("NOTIFY_SOCKET", null);
        Environment.SetEnvironmentVariable(DescriptorStore.CapacityVariable, null);
        _manager.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Theory]
    [InlineData("77", "2", "tun:control-1-2", 77, "tun=3 control-1-2=4")]
    [InlineData("77", "3", "tun", 77, "tun=3 unknown=4 unknown=5")]
    [InlineData("77", "1", null, 77, "unknown=3")]
    [InlineData("77", "1", "a:b:c", 77, "a=3")]
    [InlineData("77", "0", "tun", 77, "")]
    [InlineData("78", "2", "tun:tun", 77, "")]
    [InlineData(null, "2", "tun:tun", 77, "")]
    [InlineData("77", "-1", "tun", 77, "")]
    [InlineData("77", "many", "tun", 77, "")]
    [InlineData("77", "99999999", "tun", 77, "")]
    public void Descriptors_are_those_that_were_meant_for_this_process(string? pid, string? count, string? names, int process, string expected)
    {
        IEnumerable<string> found = DescriptorStore.Parse(pid, count, names, process).Select(one => $"{one.Name}={one.Descriptor}");

        Assert.Equal(expected, string.Join(' ', found));
    }

    [Fact]
    public void What_is_handed_over_arrives_with_its_name_and_is_the_same_file()
    {
        DescriptorStore store = DescriptorStore.Open()!;
        using MemoryFile file = MemoryFile.Create("wgsharp test");

        Assert.Null(store.Keep("one", file.Handle));

        (string text, FileDescriptor? received) = Hear();
        Assert.Equal("FDSTORE=1\nFDNAME=one\nFDPOLL=0", text);
        using (received)
        {
            // Written before or after, whoever has it sees it.
            file.Append("abc"u8);
            file.Append("def"u8);
            Assert.StartsWith("abcdef\0", Encoding.ASCII.GetString(MemoryFile.ReadAll(received!)), StringComparison.Ordinal);
            file.Clear();
            Assert.Empty(MemoryFile.ReadAll(received!));
        }

        Assert.Null(store.Forget("one"));
        Assert.Equal(("FDSTOREREMOVE=1\nFDNAME=one", null), Hear());
    }

    [Fact]
    public void Where_memfd_create_is_missing_a_file_on_a_tmpfs_without_a_name_takes_its_place()
    {
        using MemoryFile file = MemoryFile.CreateOnTmpfs(["/proc", "/nowhere", "/dev/shm"])!;
        file.Append("abc"u8);

        Assert.StartsWith("abc\0", Encoding.ASCII.GetString(MemoryFile.ReadAll(file.Handle)), StringComparison.Ordinal);
        string link = new FileInfo($"/proc/self/fd/{file.Handle.DangerousGetHandle()}").LinkTarget!;
        Assert.StartsWith("/dev/shm/", link, StringComparison.Ordinal);
        Assert.EndsWith(" (deleted)", link, StringComparison.Ordinal);
    }

    [Fact]
    public void Where_there_is_no_tmpfs_nothing_takes_its_place() => Assert.Null(MemoryFile.CreateOnTmpfs(["/proc", "/nowhere"]));

    [Fact]
    public void Of_two_logs_the_old_one_is_taken_back_after_the_new_one_was_handed_over()
    {
        using var memory = new ConfigurationMemory(DescriptorStore.Open()!);
        memory.Avoid("configuration-0");
        for (int round = 0; round < 3; round++)
        {
            memory.Begin();
            byte[] content = new byte[70_000];
            content.AsSpan().Fill((byte)(round + 1));
            memory.Append(content);
            memory.Replace();
            Assert.Equal(70_000, memory.Length);

            int name = (round + 1) % 2;
            (string text, FileDescriptor? received) = Hear();
            Assert.Equal($"FDSTORE=1\nFDNAME=configuration-{name}\nFDPOLL=0", text);
            Assert.Equal(content, MemoryFile.ReadAll(received!).AsSpan(0, content.Length).ToArray());
            received!.Dispose();
            Assert.Equal($"FDSTOREREMOVE=1\nFDNAME=configuration-{1 - name}", Hear().Text);
        }

        memory.Abandon();
        Assert.StartsWith("FDSTOREREMOVE=1", Hear().Text, StringComparison.Ordinal);
        Assert.StartsWith("FDSTOREREMOVE=1", Hear().Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("0")]
    [InlineData("")]
    [InlineData("yes")]
    public void Where_nothing_is_taken_there_is_no_store(string? capacity)
    {
        Environment.SetEnvironmentVariable(DescriptorStore.CapacityVariable, capacity);

        Assert.Null(DescriptorStore.Open());
    }

    [Fact]
    public void A_manager_that_is_not_there_is_a_reason()
    {
        Environment.SetEnvironmentVariable("NOTIFY_SOCKET", "/nonexistent/notify");
        DescriptorStore store = DescriptorStore.Open()!;

        Assert.Contains("ENOENT", store.Forget("one"), StringComparison.Ordinal);
    }

    [Fact]
    public void An_interface_outlives_who_made_it_as_long_as_somebody_has_its_descriptor()
    {
        using var network = new TestNamespace();
        DescriptorStore store = DescriptorStore.Open()!;
        int kept;
        using (TunDevice first = network.Run(() => TunDevice.Create("wgs0", new KernelFeatures(KernelFeature.None))))
        {
            Assert.Null(store.Keep("tun", first));
            (string text, FileDescriptor? received) = Hear();
            Assert.Equal("FDSTORE=1\nFDNAME=tun", text);
            kept = (int)received!.DangerousGetHandle();
            received.SetHandleAsInvalid();
        }

        Assert.Contains("wgs0", network.Ip("link show"), StringComparison.Ordinal);
        var features = new KernelFeatures(KernelFeature.None);
        using (TunDevice second = TunDevice.Adopt(kept, features, isOurs: true))
        {
            Assert.Equal("wgs0", second.Name);
            Assert.True(features.Has(KernelFeature.Silence));
            Assert.True(features.Has(KernelFeature.VnetHdr));
        }

        Assert.DoesNotContain("wgs0", network.Ip("link show"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_descriptor_whose_interface_was_deleted_is_recognised_and_closed()
    {
        using var network = new TestNamespace();
        DescriptorStore store = DescriptorStore.Open()!;
        using TunDevice first = network.Run(() => TunDevice.Create("wgs0", new KernelFeatures(KernelFeature.None)));
        Assert.Null(store.Keep("tun", first));
        FileDescriptor received = Hear().Received!;
        int kept = (int)received.DangerousGetHandle();
        received.SetHandleAsInvalid();
        network.Ip("link delete wgs0");

        Assert.Throws<TunException>(() => TunDevice.Adopt(kept, new KernelFeatures(KernelFeature.None), isOurs: true));

        Assert.Null(FileIdentity.OfDescriptor(kept));
    }

    /// <summary>One datagram, and the descriptor that came with it.</summary>
    private unsafe (string Text, FileDescriptor? Received) Hear()
    {
        byte[] text = new byte[500];
        byte* control = stackalloc byte[64];
        using FileDescriptor socket = FileDescriptor.From((int)_manager.Handle)!;
        try
        {
            fixed (byte* start = text)
            {
                var piece = new iovec { iov_base = start, iov_len = (nuint)text.Length };
                var message = new msghdr { msg_iov = &piece, msg_iovlen = 1, msg_control = control, msg_controllen = 64 };
                int length = (int)Libc.recvmsg(socket, &message, 0);
                Assert.True(length > 0);
                FileDescriptor? received = message.msg_controllen > 0 ? FileDescriptor.From(*(int*)(control + 16)) : null;
                return (Encoding.ASCII.GetString(text, 0, length), received);
            }
        }
        finally
        {
            socket.SetHandleAsInvalid();
        }
    }
}
