package probe

// FactAttributes are the names that [Facts], [Figures.Set] and [SetGPUs] may set, apart from the GPUs'
// own.
var FactAttributes = []string{
	"Machine", "Arch", "IsWindows", "BootTime",
	"OpSys", "OpSysName", "OpSysShortName", "OpSysLongName", "OpSysAndVer", "OpSysMajorVer", "OpSysVer", "KernelRelease",
	"Libc", "LibcVersion",
	"DetectedCpus", "TotalCpus", "Cpus", "DetectedPhysicalCpus",
	"CpuModel", "CpuFamily", "CpuModelNumber", "Microarch", "CpuFeatures",
	"has_ssse3", "has_sse4_1", "has_sse4_2", "has_avx", "has_avx2", "has_avx512f", "has_avx512dq", "has_avx512_vnni",
	"DetectedMemory", "TotalMemory", "Memory", "TotalVirtualMemory", "TotalDisk", "Disk",
	"Mips", "KFlops",
	"DetectedGPUs", "GPUs_DeviceName", "GPUs_GlobalMemoryMb", "GPUs_Capability", "GPUs_DriverVersion",
}

// ConditionAttributes are the names that [Conditions.Set] may set.
var ConditionAttributes = []string{
	"OnBattery", "BatteryPercent", "Temperature", "FullScreen", "Inhibited", "Metered", "RunningApps", "FreeDisk",
}
