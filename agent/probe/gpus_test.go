package probe

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"skua/policy/classad"
)

// Each file of testdata/nvidia-smi is what the tool prints on a machine.
func TestGPUs(t *testing.T) {
	for _, tt := range []struct {
		file string
		want map[string]string // of the ad
	}{
		{"two-alike.csv", map[string]string{
			"DetectedGPUs": `"GPU-6a96bd13, GPU-d2ba8d3a"`, "GPUs_DeviceName": `"Tesla V100-PCIE-32GB"`, "GPUs_GlobalMemoryMb": "32510",
			"GPUs_Capability": "7.0", "GPUs_DriverVersion": `"535.183.01"`,
			"GPUs_GPU_6a96bd13.Id": `"GPU-6a96bd13"`, "GPUs_GPU_d2ba8d3a.GlobalMemoryMb": "32510",
		}},
		{"two-kinds.csv", map[string]string{
			"DetectedGPUs": `"GPU-63259fac, GPU-a91444df"`, "GPUs_DeviceName": "undefined", "GPUs_GlobalMemoryMb": "undefined",
			"GPUs_Capability": "undefined", "GPUs_DriverVersion": `"550.90.12"`,
			"GPUs_GPU_63259fac.Capability": "8.6", "GPUs_GPU_a91444df.DeviceName": `"NVIDIA GeForce GTX 1080 Ti"`,
		}},
		{"old-driver.csv", map[string]string{
			"DetectedGPUs": `"GPU-101b1cf0"`, "GPUs_GlobalMemoryMb": "2004", "GPUs_Capability": "undefined", "GPUs": "undefined",
		}},
		{"not-told.csv", map[string]string{
			"DetectedGPUs": `"GPU-0f0e0d0c"`, "GPUs_GlobalMemoryMb": "undefined", "GPUs_Capability": "undefined",
		}},
		{"warning.csv", map[string]string{"DetectedGPUs": `"GPU-95ef7c5d"`, "GPUs_Capability": "8.0"}},
		{"failed.txt", map[string]string{"DetectedGPUs": "undefined"}},
		{"no-devices.txt", map[string]string{"DetectedGPUs": "undefined"}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			out, err := os.ReadFile(filepath.Join("testdata", "nvidia-smi", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			ad := classad.NewAd()
			SetGPUs(ad, parseGPUs(out))
			for text, want := range tt.want {
				e, err := classad.ParseExpr(text)
				same, err2 := classad.ParseExpr(text + " is " + want)
				if err := errors.Join(err, err2); err != nil {
					t.Fatal(err)
				}
				if !same.Eval(ad, nil).IsTrue() {
					t.Errorf("%s is %v, want %s", text, e.Eval(ad, nil), want)
				}
			}
		})
	}
}

// The tool is a program that does as an old driver's does, and notes each call.
func TestGPUsOfAnOldDriver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the tool is a shell script")
	}
	dir := t.TempDir()
	command, calls := filepath.Join(dir, "nvidia-smi"), filepath.Join(dir, "calls")
	write := func(script string) {
		if err := os.WriteFile(command, []byte("#!/bin/sh\necho called >>"+calls+"\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	called := func() int {
		b, _ := os.ReadFile(calls)
		return strings.Count(string(b), "called")
	}
	write(`case $1 in
*compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
--query-gpu=uuid*) echo "GPU-101b1cf0-fdf7-b374-a62c-76b25134fcf2, GeForce GTX 960M, 2004, 410.72";;
esac`)
	f := GPUFinder{Command: command}
	for range 3 {
		gpus, err := f.GPUs(t.Context())
		if err != nil || len(gpus) != 1 || gpus[0].Name != "GeForce GTX 960M" {
			t.Fatalf("found %+v, %v", gpus, err)
		}
	}
	if n := called(); n != 2 {
		t.Errorf("asked %d times, want once each way", n)
	}

	write("echo NVIDIA-SMI has failed; exit 9")
	f = GPUFinder{Command: command}
	for i := range gpuAttempts {
		if gpus, err := f.GPUs(t.Context()); err == nil || len(gpus) != 0 || !strings.Contains(err.Error(), "NVIDIA-SMI has failed") {
			t.Fatalf("attempt %d: %v, %v", i, gpus, err)
		}
	}
	before := called()
	if gpus, err := f.GPUs(t.Context()); err != nil || len(gpus) != 0 || called() != before {
		t.Errorf("a driver that never answers is asked on: %v, %v", gpus, err)
	}

	t.Setenv("PATH", dir+"/none")
	f = GPUFinder{}
	if gpus, err := f.GPUs(t.Context()); err != nil || len(gpus) != 0 {
		t.Errorf("without a driver: %v, %v", gpus, err)
	}
}

func FuzzParseGPUs(f *testing.F) {
	files, err := filepath.Glob("testdata/nvidia-smi/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no recorded answers: ", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		gpus := parseGPUs(b)
		if len(gpus) > gpusMost {
			t.Errorf("%d GPUs", len(gpus))
		}
		ad := classad.NewAd()
		SetGPUs(ad, gpus)
		for _, g := range gpus {
			if _, ok := ad.Lookup("GPUs_" + strings.ReplaceAll(g.ID, "-", "_")); !ok {
				t.Errorf("nothing is told of %+v", g)
			}
		}
	})
}
