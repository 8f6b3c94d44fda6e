package starter

import (
	"fmt"
	"os"
	"slices"

	"skua/agent/checkpoint"
	"skua/agent/probe"
	"skua/internal/fit"
)

// needs is what the image that has just been made needs of a machine, and all that the processors can do on which
// the job has run. What is not known is left out: the image is not worse for that, and a restore that fails says
// so.
func (p *pid1) needs(j *running) (n fit.Needs, ran []string) {
	open, err := checkpoint.Files(fdImage)
	if err != nil {
		fmt.Fprintln(os.Stderr, "find the files that the image needs:", err)
	}
	var files []fit.File
	var paths []string
	for _, f := range open {
		paths = append(paths, f.Path)
		shared := slices.ContainsFunc(p.cfg.Shared, func(dir string) bool { return within(f.Path, dir) })
		if OfSystem(f.Path) && !shared {
			files = append(files, fit.File{Path: f.Path, ID: fit.Built(f.BuildID, f.Size)})
		}
	}
	ran = fit.Union(j.ran, probe.Features())
	if j.level != "" {
		if j.beyond = j.strays(paths); j.beyond != "" {
			// What it has chosen once it keeps, so this does not pass.
			fmt.Fprintf(os.Stderr, "the job does not keep to %s: %s\n", j.level, j.beyond)
			j.level = ""
		}
	}
	n = fit.Of(j.level.Limit(ran), files)
	n.Baseline, n.Beyond = j.level, j.beyond
	return n, ran
}

// strays says why the programs of the image that has just been made do not keep to their level; "" if nothing is
// seen of that.
func (j *running) strays(paths []string) string {
	if why := fit.Deaf(paths); why != "" {
		return why
	}
	used, filled, err := checkpoint.Registers(fdImage)
	if err != nil {
		return "nobody knows which registers it has used" // an image that we cannot read is not limited by what we hope
	}
	if j.moved {
		// CRIU gives the threads that it restores all registers of the processor. Those that they have not
		// used are zero.
		used = filled
	}
	return j.level.Beyond(used)
}
