//go:build !linux

package footprint

func programMaps() []mapping { return nil }

func residentProgram() int { return 0 }

func letGo([]mapping) {}

func smallPages() {}
