using System.Reflection;

namespace WgSharp.Mutation;

/// <summary>The switch that Stryker compiles into the assembly with the mistakes (its class of the same name).</summary>
internal sealed class MutantControl
{
    /// <summary>No mistake is made.</summary>
    public const int None = -1;

    private const BindingFlags Members = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    private readonly Type _control;

    public MutantControl(Assembly mutated) => _control = mutated.GetTypes().Single(type => type.Name == nameof(MutantControl));

    /// <summary>Makes one mistake, in the whole process, or <see cref="None"/>.</summary>
    public void Activate(int mistake) => Field("ActiveMutant").SetValue(null, mistake);

    /// <summary>From now on, it is noted which mistakes the code comes by.</summary>
    public void BeginCoverage()
    {
        Field("CaptureCoverage").SetValue(null, true);
        TakeCoverage();
    }

    public void EndCoverage() => Field("CaptureCoverage").SetValue(null, false);

    /// <summary>Which mistakes were come by since the last call, and which of them while a class was initialized: that happens once in a process.</summary>
    public (int[] Mistakes, int[] Static) TakeCoverage()
    {
        var data = (IList<int>[])Method("GetCoverageData").Invoke(null, null)!;
        (int[], int[]) taken = ([.. data[0]], [.. data[1]]);
        Method("ResetCoverage").Invoke(null, null);
        return taken;
    }

    private FieldInfo Field(string name) => _control.GetField(name, Members) ?? throw new MissingFieldException(_control.FullName, name);

    private MethodInfo Method(string name) => _control.GetMethod(name, Members) ?? throw new MissingMethodException(_control.FullName, name);
}
