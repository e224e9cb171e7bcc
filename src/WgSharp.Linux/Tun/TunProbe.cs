namespace WgSharp.Linux;

/// <summary>How far a daemon would come with its TUN device.</summary>
public enum TunStep
{
    /// <summary>There is no /dev/net/tun, and none can be made.</summary>
    Node,

    /// <summary>The node cannot be opened.</summary>
    Open,

    /// <summary>No interface can be made with it (TUNSETIFF).</summary>
    Create,

    /// <summary>All of that went well.</summary>
    Done,
}

/// <summary>What came of <see cref="TunProbe.Try"/>.</summary>
/// <param name="Reached">The step that failed, or <see cref="TunStep.Done"/>.</param>
/// <param name="Why">What the daemon would say of it; null if nothing failed.</param>
/// <param name="NodeWasMissing">There was no node, and it could be made: what a daemon with fewer privileges could not do.</param>
public sealed record TunTrial(TunStep Reached, TunException? Why, bool NodeWasMissing);

/// <summary>Makes a TUN interface as the daemon does, and takes it away again: nothing is left of it, of a node that had to be made neither.</summary>
public static class TunProbe
{
    // The kernel counts up to a free name.
    private const string AnyName = "wgdoctor%d";

    public static TunTrial Try()
    {
        string directory = Path.GetDirectoryName(TunSetup.Node)!;
        bool hadDirectory = Directory.Exists(directory);
        bool missing = !Path.Exists(TunSetup.Node);
        TunStep step = TunStep.Open;
        try
        {
            using FileDescriptor descriptor = TunSetup.OpenNode();
            step = TunStep.Create;
            TunSetup.AttachPlainly(descriptor, AnyName);
            return new TunTrial(TunStep.Done, null, missing);
        }
        catch (TunException refused)
        {
            return new TunTrial(step == TunStep.Open && refused.ErrorNumber == Errno.ENOENT ? TunStep.Node : step, refused, missing);
        }
        finally
        {
            Remove(missing && Path.Exists(TunSetup.Node), !hadDirectory && Directory.Exists(directory));
        }
    }

    private static void Remove(bool node, bool directory)
    {
        if (node)
        {
            File.Delete(TunSetup.Node);
        }

        if (directory)
        {
            Directory.Delete(Path.GetDirectoryName(TunSetup.Node)!);
        }
    }
}
