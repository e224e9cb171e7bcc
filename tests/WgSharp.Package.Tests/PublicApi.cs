using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace WgSharp.Package.Tests;

/// <summary>What assemblies promise, as text: a line for every type, and one for every member that others may use or inherit.</summary>
internal static class PublicApi
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly NullabilityInfoContext Nullability = new();

    public static string Of(params Assembly[] assemblies)
    {
        var text = new StringBuilder();
        foreach (Type type in assemblies.SelectMany(assembly => assembly.GetExportedTypes()).OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            text.Append(Kind(type)).Append(' ').Append(type.FullName).Append(Bases(type)).Append('\n');
            foreach (string member in type.GetMembers(Declared).SelectMany(Describe).Order(StringComparer.Ordinal))
            {
                text.Append("    ").Append(member).Append('\n');
            }
        }

        return text.ToString();
    }

    private static string Kind(Type type) => type switch
    {
        { IsEnum: true } => "enum",
        { IsInterface: true } => "interface",
        _ when IsDelegate(type) => "delegate",
        { IsValueType: true } when IsRecord(type) => IsReadOnly(type) ? "readonly record struct" : "record struct",
        { IsSealed: true } when IsRecord(type) => "sealed record",
        { IsValueType: true } => IsReadOnly(type) ? "readonly struct" : "struct",
        { IsAbstract: true, IsSealed: true } => "static class",
        { IsAbstract: true } => "abstract class",
        { IsSealed: true } => "sealed class",
        _ => "class",
    };

    private static bool IsReadOnly(Type type) => type.IsDefined(typeof(IsReadOnlyAttribute));

    // What the compiler adds to a record (equality, PrintMembers, Deconstruct) goes with the word and is not listed.
    private static bool IsRecord(Type type) => type.GetMethod("PrintMembers", Declared) is not null;

    private static bool IsDelegate(Type type) => type.IsSubclassOf(typeof(Delegate));

    private static string Bases(Type type)
    {
        if (IsDelegate(type))
        {
            return string.Empty;
        }

        IEnumerable<Type> inherited = type.BaseType?.GetInterfaces() ?? [];
        IEnumerable<string> bases = type.IsEnum ? [Name(Enum.GetUnderlyingType(type))]
            : [.. type.BaseType is { } one && one != typeof(object) && one != typeof(ValueType) ? [Name(one)] : Array.Empty<string>(),
                .. type.GetInterfaces().Except(inherited).Select(Name).Order(StringComparer.Ordinal)];
        string joined = string.Join(", ", bases);
        return joined.Length > 0 ? $" : {joined}" : string.Empty;
    }

    private static IEnumerable<string> Describe(MemberInfo member) => member switch
    {
        FieldInfo { IsSpecialName: false } field when IsOpen(field.IsPublic, field.IsFamily, field.IsFamilyOrAssembly) => [Field(field)],
        PropertyInfo { Name: "EqualityContract" } => [],
        PropertyInfo property when property.GetAccessors(nonPublic: true).Any(IsOpen) => [Property(property)],
        EventInfo theEvent when IsOpen(theEvent.AddMethod!) => [$"event {Name(theEvent.EventHandlerType!)} {theEvent.Name}"],
        MethodBase method when IsDelegate(method.DeclaringType!) => method is MethodInfo { Name: "Invoke" } invoke ? [Method(invoke)] : [],
        MethodBase method when method.IsDefined(typeof(CompilerGeneratedAttribute)) && IsRecord(method.DeclaringType!) => [],
        ConstructorInfo { IsStatic: false } constructor when IsOpen(constructor) => [$"{Scope(constructor)}new({Parameters(constructor)})"],
        MethodInfo method when IsOpen(method) && (!method.IsSpecialName || method.Name.StartsWith("op_", StringComparison.Ordinal)) => [Method(method)],
        _ => [],
    };

    private static bool IsOpen(MethodBase method) => IsOpen(method.IsPublic, method.IsFamily, method.IsFamilyOrAssembly);

    private static bool IsOpen(bool isPublic, bool isFamily, bool isFamilyOrAssembly) => isPublic || isFamily || isFamilyOrAssembly;

    private static string Scope(MethodBase method) => method.IsPublic ? string.Empty : "protected ";

    private static string Field(FieldInfo field) => field switch
    {
        { IsLiteral: true, DeclaringType.IsEnum: true } => $"{field.Name} = {field.GetRawConstantValue()}",
        { IsLiteral: true } => $"const {Name(field.FieldType)} {field.Name} = {field.GetRawConstantValue()}",
        _ => $"{(field.IsStatic ? "static " : string.Empty)}{(field.IsInitOnly ? "readonly " : string.Empty)}{Name(field.FieldType)} {field.Name}",
    };

    private static string Property(PropertyInfo property)
    {
        MethodInfo first = property.GetAccessors(nonPublic: true).First(IsOpen);
        string required = property.IsDefined(typeof(RequiredMemberAttribute)) ? "required " : string.Empty;
        string type = Name(property.PropertyType) + Mark(property.PropertyType, Nullability.Create(property).ReadState);
        return $"{Scope(first)}{Modifiers(first)}{required}{type} {property.Name} {{ {Accessor(property.GetMethod, "get")}{Accessor(property.SetMethod, IsInit(property) ? "init" : "set")}}}";
    }

    private static string Accessor(MethodInfo? method, string word) => method is not null && IsOpen(method) ? word + "; " : string.Empty;

    private static bool IsInit(PropertyInfo property) =>
        property.SetMethod?.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) == true;

    private static string Method(MethodInfo method) =>
        $"{Scope(method)}{Modifiers(method)}{Name(method.ReturnType)}{Mark(method.ReturnType, Nullability.Create(method.ReturnParameter).ReadState)} {method.Name}({Parameters(method)})";

    private static string Modifiers(MethodInfo method) => method switch
    {
        { IsStatic: true } => "static ",
        { IsAbstract: true } => "abstract ",
        { IsVirtual: true, IsFinal: false } when method.GetBaseDefinition() != method => "override ",
        { IsVirtual: true, IsFinal: false } when method.DeclaringType!.IsSealed => string.Empty,
        { IsVirtual: true, IsFinal: false } => "virtual ",
        _ => string.Empty,
    };

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        Type type = parameter.ParameterType;
        string way = !type.IsByRef ? string.Empty : parameter.IsOut ? "out " : parameter.IsIn ? "in " : "ref ";
        string otherwise = parameter.HasDefaultValue ? $" = {parameter.RawDefaultValue ?? "default"}" : string.Empty;
        return $"{way}{Name(type.IsByRef ? type.GetElementType()! : type)}{Mark(type, Nullability.Create(parameter).WriteState)} {parameter.Name}{otherwise}";
    }

    private static string Mark(Type type, NullabilityState state) => state == NullabilityState.Nullable && !type.IsValueType ? "?" : string.Empty;

    private static string Name(Type type) => type switch
    {
        { IsArray: true } => Name(type.GetElementType()!) + "[]",
        { IsByRef: true } => "ref " + Name(type.GetElementType()!),
        { IsGenericType: true } when Nullable.GetUnderlyingType(type) is { } inner => Name(inner) + "?",
        { IsGenericType: true } => $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>",
        _ => type.Name,
    };
}
