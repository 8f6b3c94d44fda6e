package main

import (
	"os"
	"path/filepath"

	"skua/agent/startd"
)

var (
	defaultConfig = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent.toml")
	defaultDir    = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent")

	defaultControl = startd.NoControl // the kernel does not say who is at the other end of a socket
)
