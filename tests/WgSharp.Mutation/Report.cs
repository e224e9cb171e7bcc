using System.Globalization;
using System.Text.Json.Nodes;

namespace WgSharp.Mutation;

/// <summary>Stryker's report in JSON (the schema of stryker-mutator.io), in which the status of the mistakes is changed.</summary>
internal sealed class Report
{
    private readonly string _path;
    private readonly JsonNode _root;
    private readonly Dictionary<int, JsonNode> _mistakes;

    public Report(string path)
    {
        _path = path;
        _root = JsonNode.Parse(File.ReadAllText(path)) ?? throw new InvalidDataException($"{path}: empty");
        _mistakes = _root["files"]!.AsObject().SelectMany(file => file.Value!["mutants"]!.AsArray())
            .ToDictionary(mutant => int.Parse((string)mutant!["id"]!, CultureInfo.InvariantCulture), mutant => mutant!);
    }

    /// <summary>Which mistakes can be made and were not noticed yet.</summary>
    public int[] Open => [.. _mistakes.Where(mistake => (string?)mistake.Value["status"] is "Survived" or "NoCoverage" or "Pending").Select(mistake => mistake.Key).Order()];

    /// <summary>Tests that were run before came by it, and did not notice it.</summary>
    public bool WasMet(int mistake) => (string?)_mistakes[mistake]["status"] == "Survived";

    /// <param name="by">The test that noticed it.</param>
    public void Set(int mistake, string status, string? by)
    {
        JsonNode mutant = _mistakes[mistake];
        mutant["status"] = status;
        mutant["statusReason"] = by;
    }

    public void Save() => File.WriteAllText(_path, _root.ToJsonString());
}
