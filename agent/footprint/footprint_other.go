//go:build !linux

package footprint

func shrinkProgram() {}
