using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;

namespace WgSharp;

/// <summary>
/// The one file that this program is. The runtime opens it by its name whenever an assembly is needed for the first time, and reads at the place where
/// that assembly was when the process started. After an upgrade another file has the name; the daemon that goes on running must not look into it.
/// </summary>
internal static class Bundle
{
    /// <summary>Opens all that has not been needed yet, mostly what failures are told with. From then on the file may be replaced or deleted.</summary>
    public static void OpenWhole()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var waiting = new Queue<Assembly>();

        // Nobody references the second: the runtime finds it by its name, when it prints a stack.
        waiting.Enqueue(typeof(Bundle).Assembly);
        waiting.Enqueue(typeof(StackFrameExtensions).Assembly);
        while (waiting.TryDequeue(out Assembly? assembly))
        {
            foreach (AssemblyName reference in ReferencesOf(assembly))
            {
                if (seen.Add(reference.Name!) && TryLoad(reference) is { } loaded)
                {
                    waiting.Enqueue(loaded);
                }
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
