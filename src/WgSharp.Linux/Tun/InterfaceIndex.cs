namespace WgSharp.Linux;

/// <summary>What the scope of a link-local address means: the index of a network interface.</summary>
public static class InterfaceIndex
{
    /// <returns>0 if there is no interface of that name.</returns>
    public static uint Of(string name) => LibcProcess.if_nametoindex(name);
}
