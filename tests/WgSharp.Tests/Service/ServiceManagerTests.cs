using System.Net.Sockets;
using System.Text;

namespace WgSharp.Tests;

public class ServiceManagerTests
{
    [Fact]
    public void A_manager_behind_a_path_hears_what_is_said_in_one_datagram_each()
    {
        using var directory = new TemporaryDirectory();
        string path = Path.Combine(directory.Path, "notify");
        using Socket manager = Listen(path);

        Assert.Null(ServiceManager.Tell(path, ServiceManager.Ready));
        Assert.Null(ServiceManager.Tell(path, ServiceManager.Stopping));

        Assert.Equal("READY=1", Heard(manager));
        Assert.Equal("STOPPING=1", Heard(manager));
    }

    [Fact]
    public void A_manager_behind_an_abstract_name_hears_it_too()
    {
        string name = $"wgsharp-{Guid.NewGuid():N}";
        using Socket manager = Listen('\0' + name);

        Assert.Null(ServiceManager.Tell('@' + name, ServiceManager.Ready));

        Assert.Equal("READY=1", Heard(manager));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public void Without_a_manager_nothing_is_said(string? variable) => Assert.Null(ServiceManager.Tell(variable, ServiceManager.Ready));

    [Theory]
    [InlineData("/nonexistent/notify")]
    [InlineData("@wgsharp-nobody-is-here")]
    [InlineData("vsock:2:1234")]
    [InlineData("notify")]
    public void A_manager_that_cannot_be_told_is_named_with_the_reason(string variable)
    {
        string? why = ServiceManager.Tell(variable, ServiceManager.Ready);

        Assert.Contains(variable, why, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_that_is_too_long_for_a_socket_is_no_end()
    {
        Assert.NotNull(ServiceManager.Tell('/' + new string('x', 200), ServiceManager.Ready));
    }

    private static Socket Listen(string name)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(name));
        return socket;
    }

    private static string Heard(Socket manager)
    {
        byte[] datagram = new byte[100];
        return Encoding.UTF8.GetString(datagram, 0, manager.Receive(datagram));
    }
}
