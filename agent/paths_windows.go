package main

import (
	"os"
	"path/filepath"
)

var (
	defaultConfig = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent.toml")
	defaultDir    = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent")
)
