package startd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/fit"
	"skua/internal/job"
	"skua/policy/classad"
)

// Files in the scratch directory that tell a job of itself and of its machine, by HTCondor's names.
const (
	jobAdFile     = ".job.ad"
	machineAdFile = ".machine.ad"
)

func isAdFile(name string) bool { return name == jobAdFile || name == machineAdFile }

// threadVariables are those by which libraries learn how many threads to start. Without them many start
// one for each cpu of the machine, whatever the job asked for. The list is HTCondor's.
var threadVariables = []string{
	"CUBACORES", "GOMAXPROCS", "JULIA_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS",
	"OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "PYTHON_CPU_COUNT", "ROOT_MAX_THREADS", "TF_LOOP_PARALLEL_ITERATIONS",
	"TF_NUM_THREADS",
}

// environment gives the job's variables: those it asked for, over those every job gets. scratch is its scratch
// directory, as the agent finds it.
func (t *tenant) environment(scratch string) []string {
	slot, _, _ := strings.Cut(t.k.name, "@")
	env := append(places(runtime.GOOS, scratch, t.cmd.Dir),
		"BATCH_SYSTEM=HTCondor", // what scripts look for; what they expect then is here
		"_CONDOR_SLOT="+slot,
		"SKUA_JOB_ID="+t.offer.Job.String(),
		"SKUA_SLOT="+t.k.name,
		fit.LazyBinding,
	)
	cpus := strconv.FormatInt(t.cmd.CPUs, 10)
	for _, name := range threadVariables {
		env = append(env, name+"="+cpus)
	}
	for _, e := range t.cmd.Env {
		name, _, _ := strings.Cut(e, "=")
		env = slices.DeleteFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		env = append(env, e)
	}
	return env
}

// places are the variables that tell a job where things are, on a system as Go names it. On Windows its scratch
// directory, which the agent finds at scratch, is there for the job, too, and the starter adds what else is usual.
func places(system, scratch, dir string) []string {
	var env []string
	separator := "\\"
	if system != "windows" {
		scratch, separator = job.ScratchPath, "/"
		env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + scratch, "TMPDIR=/tmp", "TMP=/tmp", "TEMP=/tmp"}
	}
	return append(env,
		"_CONDOR_SCRATCH_DIR="+scratch,
		"_CONDOR_JOB_IWD="+cmp.Or(dir, scratch),
		"_CONDOR_JOB_AD="+scratch+separator+jobAdFile,
		"_CONDOR_MACHINE_AD="+scratch+separator+machineAdFile,
		"SKUA_SCRATCH_DIR="+scratch,
	)
}

// held adds to the job's variables those that hold its programs to its baseline, and gives that; "" if variables of the job's
// own say something else. A machine of another kind has none.
func (t *tenant) held(env []string) ([]string, fit.Baseline) {
	facts := t.k.d.facts.Load()
	if level, _ := facts.Str(fit.AttrMicroarch); t.cmd.Baseline == "" || level == "" {
		return env, ""
	}
	features, _ := facts.Str(fit.AttrFeatures)
	with, conflicts := t.cmd.Baseline.Environ(env, fit.ParseFeatures(features))
	if len(conflicts) > 0 {
		t.log.Info("the job is not held to its baseline, since its environment says something else", "baseline", t.cmd.Baseline, "variables", conflicts)
		return with, ""
	}
	return with, t.cmd.Baseline
}

// writeAds writes the files that tell the job of itself and of its machine. A job that goes on from an
// image of its processes keeps those of where it began.
func (t *tenant) writeAds(scratch string) error {
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return fmt.Errorf("%w: %w", errStaging, err)
	}
	defer root.Close()
	for _, f := range []struct {
		name string
		ad   *classad.Ad
	}{{jobAdFile, t.offer.Ad}, {machineAdFile, t.k.ad(time.Now(), t.k.state())}} {
		if err := writeNew(root, f.name, f.ad.Flat().OldString()); err != nil {
			return fmt.Errorf("%w: %w", errStaging, err)
		}
	}
	return nil
}

// writeNew writes a file in the place of whatever has its name.
func writeNew(root *os.Root, name, text string) error {
	const flags, mode = os.O_WRONLY | os.O_CREATE | os.O_EXCL, 0o644
	f, err := root.OpenFile(name, flags, mode)
	if errors.Is(err, fs.ErrExist) { // an input, or in an image
		if err = root.RemoveAll(name); err == nil {
			f, err = root.OpenFile(name, flags, mode)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
