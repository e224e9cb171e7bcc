Console.Error.WriteLine("wgsharp: not built yet");
return 1;
