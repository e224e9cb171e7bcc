using System.Text.Json;

namespace WgSharp.Crypto.Tests;

/// <summary>One AEAD case of a Wycheproof file.</summary>
internal sealed record AeadVector(int Id, bool Valid, byte[] Key, byte[] Nonce, byte[] AssociatedData, byte[] Plaintext, byte[] Ciphertext, byte[] Tag)
{
    public byte[] Sealed => [.. Ciphertext, .. Tag];
}

/// <summary>One X25519 case of a Wycheproof file.</summary>
internal sealed record X25519Vector(int Id, byte[] Public, byte[] Private, byte[] Shared);

/// <summary>One BLAKE2s known answer.</summary>
internal sealed record Blake2sVector(byte[] Input, byte[] Key, byte[] Digest);

/// <summary>Reads the files of the Vectors folder.</summary>
internal static class VectorFile
{
    public static JsonElement Open(string name)
    {
        using FileStream file = File.OpenRead(Path.Combine(AppContext.BaseDirectory, "Vectors", name));
        using JsonDocument document = JsonDocument.Parse(file);
        return document.RootElement.Clone();
    }

    public static IReadOnlyList<AeadVector> Aead(string name) =>
    [
        .. Tests(name).Select(test => new AeadVector(
            test.GetProperty("tcId").GetInt32(),
            test.GetProperty("result").GetString() == "valid",
            Hex(test, "key"),
            Hex(test, "iv"),
            Hex(test, "aad"),
            Hex(test, "msg"),
            Hex(test, "ct"),
            Hex(test, "tag"))),
    ];

    public static IReadOnlyList<X25519Vector> X25519(string name) =>
    [
        .. Tests(name).Select(test => new X25519Vector(
            test.GetProperty("tcId").GetInt32(), Hex(test, "public"), Hex(test, "private"), Hex(test, "shared"))),
    ];

    public static IReadOnlyList<Blake2sVector> Blake2s(string name) =>
    [
        .. Open(name).EnumerateArray().Select(test => new Blake2sVector(Hex(test, "in"), Hex(test, "key"), Hex(test, "out"))),
    ];

    public static byte[] Hex(JsonElement element, string property) => Convert.FromHexString(element.GetProperty(property).GetString()!);

    private static IEnumerable<JsonElement> Tests(string name) =>
        Open(name).GetProperty("testGroups").EnumerateArray().SelectMany(group => group.GetProperty("tests").EnumerateArray());
}
