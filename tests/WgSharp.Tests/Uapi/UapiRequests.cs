using System.Text;

namespace WgSharp.Tests;

/// <summary>Requests as text, and keys that are recognised at sight.</summary>
internal static class UapiRequests
{
    public const string KeyA = "a8dac1d8a70a751f0f699fb14ba1cbd5e4c1c9c3c2bb9d5b8d3d6f0d5b5f4f40";
    public const string KeyB = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
    public const string Zeros = "0000000000000000000000000000000000000000000000000000000000000000";

    public static UapiMemory Plenty => new(1L << 40, _ => true);

    /// <summary>Reads a whole request at once.</summary>
    public static UapiRequest Parse(string text, bool endOfStream = false) => Parse(Encoding.UTF8.GetBytes(text), endOfStream);

    public static UapiRequest Parse(byte[] text, bool endOfStream = false)
    {
        var request = new UapiRequest(Plenty);
        request.Read(text, endOfStream);
        return request;
    }

    /// <summary>A set operation with these lines.</summary>
    public static UapiRequest Set(params string[] lines) => Parse("set=1\n" + string.Concat(lines.Select(line => line + "\n")) + "\n");
}
