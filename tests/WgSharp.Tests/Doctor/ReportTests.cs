using System.Text;
using System.Text.Json;
using WgSharp.Doctor;

namespace WgSharp.Tests.Doctor;

public class ReportTests
{
    private static readonly IReadOnlyList<Finding> _findings =
    [
        new("tun-node", Complaint.Fault(null, "There is no /dev/net/tun.", Mend.At("enable TUN/TAP in the panel"))),
        new("ip-forward", Complaint.Warning("wg0", "It is 'off'.", Mend.By("sysctl -w net.ipv4.ip_forward=1"))),
    ];

    [Fact]
    public void A_healthy_machine_is_one_line() => Assert.Equal("Healthy.\n", Text([], colours: true));

    [Fact]
    public void Columns_are_aligned_and_mends_stand_below() => Assert.Equal(
        """
        fault    tun-node    There is no /dev/net/tun.
                             -> enable TUN/TAP in the panel
        warning  ip-forward  wg0: It is 'off'.
                             -> sysctl -w net.ipv4.ip_forward=1
        1 fault, 1 warning.

        """,
        Text(_findings, colours: false));

    [Fact]
    public void Colours_only_add_to_it() =>
        Assert.Equal(
            Text(_findings, colours: false),
            Text(_findings, colours: true).Replace("\e[31m", "").Replace("\e[33m", "").Replace("\e[1m", "").Replace("\e[0m", ""));

    [Fact]
    public void Json_has_its_shape()
    {
        using JsonDocument json = Json(_findings);

        Assert.Equal(["version", "healthy", "findings"], json.RootElement.EnumerateObject().Select(property => property.Name));
        Assert.False(json.RootElement.GetProperty("healthy").GetBoolean());
        Assert.Equal(
            [
                "id=tun-node level=fault about= wrong=There is no /dev/net/tun. command= elsewhere=enable TUN/TAP in the panel",
                "id=ip-forward level=warning about=wg0 wrong=It is 'off'. command=sysctl -w net.ipv4.ip_forward=1 elsewhere=",
            ],
            json.RootElement.GetProperty("findings").EnumerateArray()
                .Select(finding => string.Join(' ', finding.EnumerateObject().Select(property => $"{property.Name}={property.Value.GetString()}"))));
    }

    [Fact]
    public void Healthy_json_has_no_findings()
    {
        using JsonDocument json = Json([]);

        Assert.True(json.RootElement.GetProperty("healthy").GetBoolean());
        Assert.Equal(0, json.RootElement.GetProperty("findings").GetArrayLength());
    }

    private static string Text(IReadOnlyList<Finding> findings, bool colours)
    {
        using var text = new StringWriter { NewLine = "\n" };
        Report.WriteText(text, findings, colours);
        return text.ToString();
    }

    private static JsonDocument Json(IReadOnlyList<Finding> findings)
    {
        using var stream = new MemoryStream();
        Report.WriteJson(stream, findings);
        return JsonDocument.Parse(Encoding.UTF8.GetString(stream.ToArray()));
    }
}
