using System.Text.Json;
using WgSharp.Engine;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Tests.Status;

public class StatusLinesTests
{
    [Fact]
    public void Everything_that_a_daemon_can_tell_arrives()
    {
        InterfaceStatus told = StatusExample.Interface();
        StatusExample.FillWithSomething(told);
        StatusExample.FillWithSomething(told.Tunnel);
        foreach (DropReason reason in Enum.GetValues<DropReason>())
        {
            told.Tunnel.Drops.Add(reason, 100 + (int)reason);
        }

        foreach (PeerStatus peer in told.Peers)
        {
            StatusExample.FillWithSomething(peer);
            foreach (DropReason reason in Enum.GetValues<DropReason>())
            {
                peer.AddDrops(reason, 200 + (int)reason);
            }
        }

        InterfaceStatus heard = StatusClient.Read(new StringReader(StatusExample.Answer(told)), "wg0");

        Assert.Equal(Describe(told), Describe(heard));
        Assert.Equal(told.Missing, heard.Missing);
        Assert.Equal(told.Peers[0].AllowedIps, heard.Peers[0].AllowedIps);
    }

    [Fact]
    public void What_has_never_been_arrives_as_that()
    {
        var told = new InterfaceStatus { Name = "wg0", Peers = [new PeerStatus { PublicKey = StatusExample.Key(1) }] };

        InterfaceStatus heard = StatusClient.Read(new StringReader(StatusExample.Answer(told)), "wg0");

        told.Tunnel.PeerCount = 1;
        Assert.Equal(Describe(told), Describe(heard));
        Assert.Null(heard.Peers[0].KeypairAge);
    }

    [Fact]
    public void An_age_of_nothing_is_not_never()
    {
        var told = new InterfaceStatus { Peers = [new PeerStatus { PublicKey = StatusExample.Key(1), KeypairAge = TimeSpan.Zero }] };

        Assert.Equal(TimeSpan.Zero, StatusClient.Read(new StringReader(StatusExample.Answer(told)), "wg0").Peers[0].KeypairAge);
    }

    [Fact]
    public void No_line_is_longer_than_the_answer_has_room_for()
    {
        InterfaceStatus told = StatusExample.Interface();
        told.Missing.Add(new string('x', 100_000) + "\nerrno=5\n");

        Assert.All(StatusLines.Of(told), line => Assert.InRange(System.Text.Encoding.UTF8.GetByteCount(line), 0, StatusLines.MaxLine));
        Assert.All(StatusLines.Of(told), line => Assert.DoesNotContain('\n', line));
    }

    [Fact]
    public void What_a_younger_daemon_tells_is_left_out()
    {
        string answer = StatusExample.Answer(StatusExample.Interface())
            .Replace("trouble=no_answer", "trouble=stage_fright\nmood=7\nfigure=-", StringComparison.Ordinal)
            .Replace("mtu_policy=clamp_only", "mtu_policy=astrology\ncolour=blue", StringComparison.Ordinal);

        InterfaceStatus heard = StatusClient.Read(new StringReader(answer), "wg0");

        Assert.Equal(2, heard.Peers.Count);
        Assert.Equal(3, heard.Peers[1].HandshakeAttempts);
        Assert.Equal(HandshakeTrouble.None, heard.Peers[1].Trouble);
    }

    [Theory]
    [InlineData("errno=22\n\n", "older wgsharp")]
    [InlineData("errno=71\n\n", "older wgsharp")]
    [InlineData("", "older wgsharp")]
    [InlineData("errno=12\n\n", "ENOMEM")]
    [InlineData("name=wg0\nversion=1\n", "cut off")]
    public void What_is_no_answer_is_a_sentence(string answer, string part) =>
        Assert.Contains(part, Assert.Throws<IOException>(() => StatusClient.Read(new StringReader(answer), "wg7")).Message, StringComparison.Ordinal);

    [Fact]
    public void No_secret_has_a_place()
    {
        string[] names = [.. typeof(PeerStatus).GetProperties().Concat(typeof(TunnelStatus).GetProperties()).Concat(typeof(InterfaceStatus).GetProperties()).Select(property => property.PropertyType.Name)];

        Assert.DoesNotContain(names, name => name.Contains("PrivateKey", StringComparison.Ordinal) || name.Contains("Preshared", StringComparison.Ordinal) || name.Contains("Secret", StringComparison.Ordinal));
    }

    // Values, by reflection: what is added to the model and has no line shows here.
    private static string Describe(InterfaceStatus status) => JsonSerializer.Serialize(new
    {
        Interface = Values(status),
        Tunnel = Values(status.Tunnel),
        Drops = status.Tunnel.Drops.ToString(),
        Peers = status.Peers.Select(Values),
        DropsOfPeers = status.Peers.Select(peer => peer.Drops?.ToString()),
    });

    private static Dictionary<string, string?> Values(object of) => of.GetType().GetProperties()
        .Where(property => property.PropertyType.IsValueType || property.PropertyType == typeof(string))
        .ToDictionary(property => property.Name, property => property.GetValue(of)?.ToString());
}
