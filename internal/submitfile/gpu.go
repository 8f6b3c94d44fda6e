package submitfile

import (
	"strconv"
	"strings"
)

// gpuBounds are the commands that bound a property of a GPU, in the order of their clauses.
var gpuBounds = []struct{ command, attr, property, op string }{
	{"gpus_minimum_capability", "GPUsMinCapability", "Capability", ">="},
	{"gpus_maximum_capability", "GPUsMaxCapability", "Capability", "<="},
	{"gpus_minimum_memory", "GPUsMinMemory", "GlobalMemoryMb", ">="},
	{"gpus_minimum_runtime", "GPUsMinRuntime", "MaxSupportedVersion", ">="},
}

// buildGPUs sets what the job wants of GPUs, which are refused with a reason.
func (p *proc) buildGPUs() error {
	gpus, err := p.request("gpus", "", 0)
	if err != nil || gpus.expr == nil {
		return err
	}
	if err := p.put("RequestGPUs", setting{expr: gpus.expr}); err != nil {
		return err
	}
	if !gpus.atMost(0) {
		if err := p.e.d.refuse(gpus.at, "", "request_gpus: GPUs are %w", ErrUnsupported); err != nil {
			return err
		}
	}
	require, err := p.requireGPUs()
	if err != nil || !require.set() {
		return err
	}
	if asked, err := p.get("request_gpus", "requestgpus"); err != nil || !asked.set() {
		return err // +RequestGPUs alone
	}
	for _, b := range gpuBounds {
		v, err := p.get(b.command)
		if err != nil {
			return err
		}
		if !v.set() {
			continue
		}
		if n, ok := parseSize(v.text, 1<<20); ok && b.attr == "GPUsMinMemory" {
			v.text = strconv.FormatInt(n, 10)
		}
		if b.attr == "GPUsMinRuntime" {
			v.text = runtimeVersion(v.text)
		}
		if err := p.setExpr(b.attr, v); err != nil {
			return err
		}
	}
	return p.setExpr("RequireGPUs", require)
}

// requireGPUs is what must hold of each of a machine's GPUs.
func (p *proc) requireGPUs() (value, error) {
	v, err := p.get("require_gpus", "requiregpus")
	if err != nil {
		return v, err
	}
	var clauses []string
	mentioned := ""
	if v.set() {
		clauses, mentioned = append(clauses, operand(v.text)), strings.ToLower(v.text)
	}
	for _, b := range gpuBounds {
		bound, err := p.get(b.command)
		if err != nil {
			return v, err
		}
		if bound.set() && !strings.Contains(mentioned, strings.ToLower(b.property)) {
			clauses = append(clauses, b.property+" "+b.op+" "+b.attr)
			v.at, v.name = bound.at, bound.name
		}
	}
	v.text, v.verbatim = strings.Join(clauses, " && "), false
	return v, nil
}

// gpuClause requires a machine with the GPUs that are requested; empty if none are.
func (p *proc) gpuClause() (string, error) {
	gpus, err := p.request("gpus", "", 0)
	if err != nil || gpus.atMost(0) || strings.EqualFold(gpus.text, "true") {
		return "", err
	}
	asked, err := p.get("request_gpus", "requestgpus")
	if err != nil {
		return "", err
	}
	require, err := p.requireGPUs()
	if asked.set() && require.set() || p.forced["requiregpus"] {
		return "(countMatches(MY.RequireGPUs,TARGET.AvailableGPUs) >= RequestGPUs)", err
	}
	return "(TARGET.GPUs >= RequestGPUs)", err
}

// runtimeVersion writes a version of CUDA as the number that machines have for it: 11.2 is 11020.
func runtimeVersion(text string) string {
	return version3(text, 10)
}

// version3 makes a number of a version: a thousand for the first part, scale for the second.
func version3(text string, scale int) string {
	major, minor, _ := strings.Cut(text, ".")
	m, err := strconv.Atoi(major)
	n, err2 := strconv.Atoi(minor)
	if err != nil || minor != "" && err2 != nil || m > 1000 || n > 100 {
		return text
	}
	return itoa(1000*m + scale*n)
}

// buildCUDA sets the version of CUDA that a job was made for.
func buildCUDA(p *proc) error {
	v, err := p.get("cuda_version", "cudaversion")
	if err != nil || !v.set() {
		return err
	}
	text := version3(v.text, 1)
	if _, err := strconv.Atoi(text); err != nil {
		return problem(v.at, "for example 12.1", "%s = %s is not a version", v.name, clip(v.text))
	}
	if p.forcesRequirements() {
		p.setString("CUDAVersion", v.text)
		return nil
	}
	v.text = text
	return p.setExpr("CUDAVersion", v)
}

func (p *proc) cudaClauses(value, map[string]bool) ([]string, error) {
	v, err := p.get("cuda_version", "cudaversion")
	if err != nil || !v.set() {
		return nil, err
	}
	return []string{"CUDAVersion <= TARGET.CUDAMaxSupportedVersion"}, nil
}
