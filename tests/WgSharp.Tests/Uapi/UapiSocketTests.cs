using System.Net.Sockets;
using WgSharp.Linux;

namespace WgSharp.Tests;

public sealed class UapiSocketTests : IDisposable
{
    private const int EAddrInUse = 98;

    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    private readonly TemporaryDirectory _directory = new();

    private string SocketPath => Path.Combine(_directory.Path, "wgt0.sock");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void The_directory_is_made_and_the_socket_is_its_owners_alone()
    {
        string directory = Path.Combine(_directory.Path, "wireguard");
        using UapiSocket socket = UapiSocket.Listen(directory, "wgt0", TimeSpan.Zero);

        Assert.Equal(Convert.ToInt32("755", 8), (int)File.GetUnixFileMode(directory));
        Assert.Equal(Convert.ToInt32("600", 8), (int)File.GetUnixFileMode(Path.Combine(directory, "wgt0.sock")));
        Assert.Equal(["wgt0.sock"], Directory.GetFileSystemEntries(directory).Select(Path.GetFileName));
    }

    [Fact]
    public void The_socket_answers_from_its_first_moment_and_is_gone_after_its_last()
    {
        using (UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero))
        {
            using var client = new UapiClient(SocketPath);
            Assert.True(client.Socket.Connected);
        }

        Assert.Empty(Directory.GetFileSystemEntries(_directory.Path));
    }

    [Fact]
    public void A_hundred_and_twenty_eight_connections_may_wait_to_be_accepted()
    {
        using UapiSocket socket = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);
        var clients = new List<UapiClient>();
        for (int i = 0; i < 128; i++)
        {
            clients.Add(new UapiClient(SocketPath));
        }

        clients.ForEach(client => client.Dispose());
    }

    [Fact]
    public void A_socket_that_answers_keeps_its_name()
    {
        using UapiSocket first = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);

        IOException taken = Assert.Throws<IOException>(() => UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero));

        Assert.Equal(EAddrInUse, taken.HResult);
        Assert.Equal(["wgt0.sock"], Directory.GetFileSystemEntries(_directory.Path).Select(Path.GetFileName));
        using var client = new UapiClient(SocketPath);
        Assert.True(client.Socket.Connected);
    }

    [Fact]
    public void A_socket_that_goes_while_it_is_looked_at_leaves_the_name_free()
    {
        bool looked = false;
        var predecessors = new Thread(() =>
        {
            while (!Volatile.Read(ref looked))
            {
                using var ending = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                ending.Bind(new UnixDomainSocketEndPoint(SocketPath));
                File.Delete(SocketPath);
            }
        });
        predecessors.Start();
        Exception? refused = Record.Exception(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                UapiSocket.AwaitFree(_directory.Path, "wgt0", TimeSpan.Zero);
            }
        });
        Volatile.Write(ref looked, true);
        predecessors.Join();

        Assert.Null(refused);
    }

    [Fact]
    public void A_socket_of_another_kind_is_refused_in_a_sentence()
    {
        using var datagrams = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        datagrams.Bind(new UnixDomainSocketEndPoint(SocketPath));

        IOException refused = Assert.Throws<IOException>(() => UapiSocket.AwaitFree(_directory.Path, "wgt0", TimeSpan.Zero));

        Assert.StartsWith($"The control socket {SocketPath} cannot be made: ", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_socket_that_answers_but_has_no_room_keeps_its_name()
    {
        using var full = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        full.Bind(new UnixDomainSocketEndPoint(SocketPath));
        full.Listen(1);
        var clients = new List<Socket>();
        bool room = true;
        while (room)
        {
            var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
            clients.Add(client);
            try
            {
                client.Connect(new UnixDomainSocketEndPoint(SocketPath));
            }
            catch (SocketException)
            {
                room = false;
            }
        }

        IOException taken = Assert.Throws<IOException>(() => UapiSocket.Listen(_directory.Path, "wgt0", Long));

        Assert.Equal(EAddrInUse, taken.HResult);
        clients.ForEach(client => client.Dispose());
    }

    [Fact]
    public async Task A_daemon_that_is_just_ending_is_waited_for()
    {
        UapiSocket ending = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);
        Task<UapiSocket> next = Task.Run(() => UapiSocket.Listen(_directory.Path, "wgt0", Long));
        using (await ending.Listener.AcceptAsync())
        {
            ending.Dispose();
        }

        using UapiSocket socket = await next;
        using var client = new UapiClient(SocketPath);
        Assert.True(client.Socket.Connected);
    }

    [Fact]
    public void A_stale_socket_is_replaced()
    {
        LeaveStaleSocket();

        using UapiSocket socket = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);

        using var client = new UapiClient(SocketPath);
        Assert.True(client.Socket.Connected);
    }

    [Fact]
    public void A_file_that_is_no_socket_is_left_alone()
    {
        File.WriteAllText(SocketPath, "precious");

        IOException refused = Assert.Throws<IOException>(() => UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero));

        Assert.Contains("not a socket", refused.Message, StringComparison.Ordinal);
        Assert.Equal("precious", File.ReadAllText(SocketPath));
    }

    [Fact]
    public void A_directory_that_cannot_be_made_is_named()
    {
        File.WriteAllText(Path.Combine(_directory.Path, "file"), string.Empty);

        IOException refused = Assert.ThrowsAny<IOException>(() => UapiSocket.Listen(Path.Combine(_directory.Path, "file", "wireguard"), "wgt0", TimeSpan.Zero));

        Assert.Contains(_directory.Path, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_file_stays_if_another_daemon_has_taken_the_name()
    {
        UapiSocket old = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);
        File.Delete(SocketPath);
        using UapiSocket next = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);

        old.Dispose();

        using var client = new UapiClient(SocketPath);
        Assert.True(client.Socket.Connected);
    }

    [Fact]
    public async Task Deleting_the_file_is_noticed()
    {
        using UapiSocket socket = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);
        var gone = new TaskCompletionSource();
        using FileWatch watch = socket.Watch(gone.SetResult)!;

        File.SetUnixFileMode(SocketPath, UnixFileMode.UserRead);
        Assert.False(gone.Task.IsCompleted);
        File.Delete(SocketPath);

        await gone.Task;
    }

    [Fact]
    public async Task Replacing_or_renaming_the_file_is_noticed()
    {
        using UapiSocket replaced = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);
        using UapiSocket renamed = UapiSocket.Listen(_directory.Path, "wgt1", TimeSpan.Zero);
        var replacedGone = new TaskCompletionSource();
        var renamedGone = new TaskCompletionSource();
        using FileWatch first = replaced.Watch(replacedGone.SetResult)!;
        using FileWatch second = renamed.Watch(renamedGone.SetResult)!;

        File.Move(Path.Combine(_directory.Path, "wgt1.sock"), SocketPath, overwrite: true);

        await replacedGone.Task;
        await renamedGone.Task;
    }

    [Fact]
    public void Watches_come_and_go_without_growth()
    {
        using UapiSocket socket = UapiSocket.Listen(_directory.Path, "wgt0", TimeSpan.Zero);
        for (int i = 0; i < 300; i++)
        {
            socket.Watch(() => { })!.Dispose();
        }

        Assert.DoesNotContain(Directory.GetFiles("/proc/self/fd"), IsInotify);
    }

    private static bool IsInotify(string descriptor)
    {
        try
        {
            return File.ResolveLinkTarget(descriptor, returnFinalTarget: false)?.Name.Contains("inotify", StringComparison.Ordinal) == true;
        }
        catch (FileNotFoundException)
        {
            // A test beside this one has closed it since it was listed.
            return false;
        }
    }

    private void LeaveStaleSocket()
    {
        // A socket that was never told to listen refuses as one does whose process is gone.
        using var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        string temporary = Path.Combine(_directory.Path, "dead");
        dead.Bind(new UnixDomainSocketEndPoint(temporary));
        File.Move(temporary, SocketPath);
    }
}
