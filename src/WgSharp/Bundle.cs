using System.Diagnostics.CodeAnalysis;
using System.Reflection;

namespace WgSharp;

/// <summary>
/// The one file that this program is. The runtime opens it by its name whenever an assembly is needed for the first time, and reads at the place where
/// that assembly was when the process started. After an upgrade another file has the name; the daemon that goes on running must not look into it.
/// </summary>
internal static class Bundle
{
    // Nothing refers to it: the runtime finds it by its name when it prints a stack.
    private static readonly AssemblyName _unreferenced = new("System.Diagnostics.StackTrace");

    /// <summary>Opens all that has not been needed yet, mostly what failures are told with. From then on the file may be replaced or deleted.</summary>
    public static void OpenWhole()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var waiting = new Queue<AssemblyName>([typeof(Bundle).Assembly.GetName(), _unreferenced]);
        while (waiting.TryDequeue(out AssemblyName? name))
        {
            if (seen.Add(name.Name!) && TryLoad(name) is { } assembly)
            {
                Array.ForEach(ReferencesOf(assembly), waiting.Enqueue);
            }
        }
    }

    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "What the trimmer removed is not in the file either.")]
    private static AssemblyName[] ReferencesOf(Assembly assembly) => assembly.GetReferencedAssemblies();

    private static Assembly? TryLoad(AssemblyName name)
    {
        try
        {
            return Assembly.Load(name);
        }
        catch (FileNotFoundException)
        {
            // Only a name was left of it.
            return null;
        }
    }
}
