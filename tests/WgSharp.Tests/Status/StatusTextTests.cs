using System.Text;
using WgSharp.Protocol;
using WgSharp.Status;

namespace WgSharp.Tests.Status;

public class StatusTextTests
{
    private static readonly PeerChoice _all = new(null, PeerOrder.Config);

    [Fact]
    public void A_few_peers_are_shown_as_approved() =>
        StatusExample.AssertApproved("few.txt", Text(new StatusText(colour: false), StatusExample.Interface(2)));

    [Fact]
    public void Many_peers_are_shown_as_approved() =>
        StatusExample.AssertApproved("many.txt", Text(new StatusText(colour: false), StatusExample.Interface(12)));

    [Fact]
    public void A_program_is_told_as_approved()
    {
        var viewer = new StatusViewer(_all);
        byte[] json = StatusJson.Of([viewer.View(StatusExample.Interface(), 0)], indented: true);

        StatusExample.AssertApproved("status.json", Encoding.UTF8.GetString(json));
    }

    [Fact]
    public void Ten_peers_take_fifty_lines()
    {
        InterfaceStatus status = StatusExample.Interface(8);

        Assert.Equal(10, status.Peers.Count);
        Assert.InRange(new StatusText(colour: false).Lines(View(status)).Count(), 10, 51);
    }

    [Fact]
    public void Columns_of_a_table_begin_and_end_at_the_same_place()
    {
        string[] rows = [.. new StatusText(colour: false).Lines(View(StatusExample.Interface(300))).SkipWhile(line => !line.StartsWith("PEER", StringComparison.Ordinal))];

        int endpoint = rows[0].IndexOf("ENDPOINT", StringComparison.Ordinal);
        int sent = rows[0].IndexOf("SENT", StringComparison.Ordinal) + "SENT".Length;
        Assert.Equal(303, rows.Length);
        Assert.All(rows.Skip(1), row =>
        {
            Assert.Equal("  ", row[(endpoint - 2)..endpoint]);
            Assert.NotEqual(' ', row[endpoint]);
            Assert.NotEqual(' ', row[sent - 1]);
            Assert.True(row.Length == sent || row[sent] == ' ');
        });
    }

    [Theory]
    [InlineData(20)]
    [InlineData(79)]
    public void No_line_is_wider_than_the_terminal(int columns)
    {
        foreach (int peers in (int[])[1, 40])
        {
            Assert.All(new StatusText(colour: true, columns).Lines(View(StatusExample.Interface(peers))), line =>
            {
                Assert.InRange(Visible(line).Length, 0, columns);
                Assert.True(IsEnded(line), line);
            });
        }
    }

    [Fact]
    public void Colour_is_all_that_it_adds()
    {
        InterfaceView view = View(StatusExample.Interface(3));

        Assert.Equal(new StatusText(colour: false).Lines(view), new StatusText(colour: true).Lines(view).Select(Visible));
        Assert.DoesNotContain('\u001b', string.Concat(new StatusText(colour: false).Lines(view)));
    }

    [Fact]
    public void What_is_left_out_is_counted()
    {
        InterfaceView view = new StatusViewer(new PeerChoice(null, PeerOrder.Config, Most: 5)).View(StatusExample.Interface(9_998), 0);

        Assert.Equal(5, view.Peers.Count);
        Assert.Contains("9,995 more peers", new StatusText(colour: false).Lines(view).Last(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(1023, "1023 B")]
    [InlineData(1024, "1 KiB")]
    [InlineData(1536, "1.5 KiB")]
    [InlineData(1048575.9, "1 MiB")]
    [InlineData(1.3e9, "1.2 GiB")]
    [InlineData(200.0 * 1024 * 1024, "200 MiB")]
    public void Bytes_have_a_unit(double bytes, string text) => Assert.Equal(text, StatusText.Bytes(bytes));

    [Theory]
    [InlineData(0, "0 s")]
    [InlineData(59.9, "59 s")]
    [InlineData(60, "1 min 0 s")]
    [InlineData(3600, "1 h 0 min")]
    [InlineData(100_000, "1 d 3 h")]
    public void Times_have_two_units_at_most(double seconds, string text) => Assert.Equal(text, StatusText.Span(TimeSpan.FromSeconds(seconds)));

    [Fact]
    public void Every_trouble_is_a_sentence_of_its_own()
    {
        HandshakeTrouble[] troubles = [.. Enum.GetValues<HandshakeTrouble>().Where(trouble => trouble != HandshakeTrouble.None)];
        string[] sentences = [.. troubles.Select(trouble => StatusText.Trouble(new PeerStatus { PublicKey = default, Trouble = trouble, HandshakeAttempts = 3, TroubleErrno = 101, TroubleAge = TimeSpan.FromSeconds(12) }))];

        Assert.Equal(troubles.Length, sentences.Distinct().Count());
        Assert.Contains("no answer since 12 s, 3 attempts", sentences);
        Assert.Contains("endpoint unreachable: ENETUNREACH, 3 attempts", sentences);
        Assert.All(sentences, sentence => Assert.Contains(' ', sentence));
    }

    [Theory]
    [InlineData("192.0.2.1", 1)]
    [InlineData("192.0.2.1:51820", 1)]
    [InlineData("2001:db8::1", 1)]
    [InlineData("10.1.77.77", 1)]
    [InlineData("10.1.0.0/16", 1)]
    [InlineData("10.0.0.2", 1)]
    [InlineData("fd00::2", 1)]
    [InlineData("10.9.9.9", 0)]
    [InlineData("nobody", 0)]
    public void A_peer_is_found_by_what_is_known_of_it(string text, int found) => Assert.Equal(found, StatusExample.Interface().Peers.Count(new PeerChoice(text, PeerOrder.Config).Includes));

    [Fact]
    public void A_peer_is_found_by_the_beginning_of_its_key()
    {
        InterfaceStatus status = StatusExample.Interface(500);
        PeerStatus one = status.Peers[77];

        Assert.Equal([one], status.Peers.Where(new PeerChoice(one.PublicKey.ToString()[..12], PeerOrder.Config).Includes));
    }

    [Fact]
    public void Peers_come_in_the_order_that_was_asked_for()
    {
        InterfaceStatus status = StatusExample.Interface(20);
        IReadOnlyList<PeerView> Sorted(PeerOrder order) => new StatusViewer(new PeerChoice(null, order)).View(status, 0).Peers;

        Assert.Same(status.Peers[1], Sorted(PeerOrder.Trouble)[0].Status);
        Assert.Same(status.Peers[0], Sorted(PeerOrder.Handshake)[0].Status);
        Assert.Same(status.Peers[21], Sorted(PeerOrder.Handshake)[1].Status);
        Assert.Equal(status.Peers, Sorted(PeerOrder.Config).Select(view => view.Status));
        Assert.Same(status.Peers[0], Sorted(PeerOrder.Rate)[0].Status);
    }

    [Fact]
    public void Rates_come_from_two_looks()
    {
        var viewer = new StatusViewer(_all);
        InterfaceStatus first = StatusExample.Interface(1);
        InterfaceStatus second = StatusExample.Interface(2);
        second.Peers[0].RxBytes += 5000;
        second.Peers[2].TxBytes -= 1;
        first.Peers[2].TxBytes += 1;
        long frequency = System.Diagnostics.Stopwatch.Frequency;

        Assert.Null(viewer.View(first, 0).Peers[0].RxRate);
        IReadOnlyList<PeerView> peers = viewer.View(second, frequency / 2).Peers;

        Assert.Equal(10_000, peers[0].RxRate);
        Assert.Equal(0, peers[0].TxRate);
        Assert.Null(peers[2].TxRate); // it counts anew
        Assert.Null(peers[3].RxRate); // it is new
    }

    [Fact]
    public void The_kernel_s_words_about_this_process_are_understood()
    {
        const string Stat = "4711 (wg) sharp) S 1 2 3 4 5 6 7 8 9 10 1234 566 13 14 15 16 12 0 77 1000000 2000 18446744073709551615 1 1";

        Assert.Equal(new ProcessFigures(12, 2000 * 4096, TimeSpan.FromSeconds(18)), ProcessFigures.Parse(Stat, 4096));
        Assert.Equal(default, ProcessFigures.Parse("nonsense", 4096));
        Assert.True(ProcessFigures.Read().ResidentBytes > 1 << 20);
    }

    private static InterfaceView View(InterfaceStatus status) => new StatusViewer(_all).View(status, 0);

    private static string Text(StatusText text, InterfaceStatus status) => string.Concat(text.Lines(View(status)).Select(line => line + "\n"));

    private static string Visible(string line) => System.Text.RegularExpressions.Regex.Replace(line, "\u001b\\[[0-9]+m", string.Empty, System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(10));

    // Whatever colour was begun is ended.
    private static bool IsEnded(string line) => line.LastIndexOf("\u001b[0m", StringComparison.Ordinal) == line.LastIndexOf('\u001b');
}
