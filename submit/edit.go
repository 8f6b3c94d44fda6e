package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

func (a *app) editCommand() *cobra.Command {
	var m meant
	var asJSON bool
	c := &cobra.Command{
		Use:   "edit {CLUSTER | JOB | USER}... {NAME=EXPR | NAME EXPR}...",
		Short: "change attributes of jobs in the queue",
		Long: `Edit sets attributes of jobs, as HTCondor's qedit does: the jobs stand first, and then what to set. A
value is an expression of the ClassAd language, in which a text has quotes of its own. For
RequestMemory and RequestDisk a size with a unit will do.

What only counts when a job starts counts from its next start on. What the queue itself keeps, such as
the job's state, cannot be set.`,
		Example: `  skua edit 12 RequestMemory=4GB
  skua edit 12.3 RequestMemory 4096
  skua edit 12 'Requirements=Memory > 8000 && Arch == "X86_64"'
  skua edit --constraint 'JobStatus == 5' JobBatchName '"later"'`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			jobs, edits := splitEdits(args, m.all || m.constraint != "")
			set, notes, err := parseEdits(edits)
			if err != nil {
				return err
			}
			if err := m.read("edit", jobs); err != nil {
				return err
			}
			a.notes(notes)
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			res, err := act(c.Context(), pool, wire.Edit, m, "", set...)
			if err != nil {
				return err
			}
			if a.as != "" && len(res.Done) > 0 {
				for _, s := range set {
					fmt.Fprintf(a.out, "Set attribute %q for %d matching jobs.\n", s.Name, len(res.Done))
				}
				return nil
			}
			return a.report(res, "edited", m, asJSON)
		},
	}
	m.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print what was done as JSON")
	return c
}

var attribute = regexp.MustCompile(`^(?i:MY\.|\+)?[A-Za-z_]\w*$`)

// splitEdits finds out where the jobs end and the edits begin. A word that might be a user or an attribute
// is a user when nothing else says which jobs are meant.
func splitEdits(args []string, chosen bool) (jobs, edits []string) {
	n := 0
	for n < len(args) && !strings.Contains(args[n], "=") && (!attribute.MatchString(args[n]) || n == 0 && !chosen) {
		n++
	}
	return args[:n], args[n:]
}

// parseEdits reads NAME=EXPR, or NAME and EXPR as two words. notes are what may not be meant.
func parseEdits(words []string) (set []job.Assigned, notes []string, err error) {
	for len(words) > 0 {
		name, text, one := strings.Cut(words[0], "=")
		name = strings.TrimSpace(name)
		if !one || !attribute.MatchString(name) {
			if name = words[0]; len(words) < 2 {
				return nil, nil, usage("an edit is NAME=EXPR, such as RequestMemory=4096", "no value for %s", name)
			}
			text, words = words[1], words[1:]
		}
		words = words[1:]
		if !attribute.MatchString(name) {
			return nil, nil, usage("an edit is NAME=EXPR, such as RequestMemory=4096", "%q is not the name of an attribute", name)
		}
		name = strings.TrimPrefix(name, "+")
		if len(name) > 3 && strings.EqualFold(name[:3], "MY.") {
			name = name[3:]
		}
		if attr := attributeOf[strings.ToLower(name)]; attr != "" {
			return nil, nil, usage(fmt.Sprintf("its attribute in the job's ad is %s: %[1]s=%s", attr, text), "%s is a command of job descriptions", name)
		}
		e, err := classad.ParseOldExpr(text)
		if err != nil {
			size, ok := sizeExpr(name, text)
			if !ok {
				if hint := sizeHint(name); hint != "" && beginsWithDigit.MatchString(text) {
					return nil, nil, &diag.Problem{What: fmt.Sprintf("%s = %s is not a size", name, text), Hint: hint, Err: err}
				}
				return nil, nil, &diag.Problem{What: fmt.Sprintf("%s = %s is not an expression: %v", name, text, err), Hint: "a text has quotes of its own: " + name + `='"some text"'`, Err: err}
			}
			e = size
		}
		if attribute.MatchString(text) && !constant(text) {
			notes = append(notes, fmt.Sprintf("%s is set to the value of the attribute %s; a text is written '%q'", name, text, text))
		}
		set = append(set, job.Assigned{Name: name, Expr: e.String()})
	}
	if len(set) == 0 {
		return nil, nil, usage("an edit is NAME=EXPR, such as RequestMemory=4096", "edit wants to know what to set")
	}
	return set, notes, nil
}

func constant(text string) bool {
	switch strings.ToLower(text) {
	case "true", "false", "undefined", "error":
		return true
	}
	return false
}

// attributeOf are the attributes that commands of job descriptions set, of those that people edit.
var attributeOf = map[string]string{
	"request_memory": "RequestMemory", "request_cpus": "RequestCpus", "request_disk": "RequestDisk",
	"priority": "JobPrio", "batch_name": "JobBatchName",
	"periodic_hold": "PeriodicHold", "periodic_release": "PeriodicRelease", "periodic_remove": "PeriodicRemove",
	"on_exit_hold": "OnExitHold", "on_exit_remove": "OnExitRemove", "max_retries": "JobMaxRetries",
	"concurrency_limits": "ConcurrencyLimits", "job_max_vacate_time": "JobMaxVacateTime",
	"accounting_group": "AccountingGroup", "max_materialize": "JobMaterializeLimit", "max_idle": "JobMaterializeMaxIdle",
}

var beginsWithDigit = regexp.MustCompile(`^\d`) // as a size does

var sizeWord = regexp.MustCompile(`^(\d+(?:\.\d+)?) *([KMGT])I?B?$`)

// sizeExpr reads a size as job descriptions have it, where a kilobyte is 1024 bytes, and gives it in the
// unit that the attribute has.
func sizeExpr(name, text string) (*classad.Expr, bool) {
	unit := map[string]float64{"requestmemory": 1 << 20, "requestdisk": 1 << 10}[strings.ToLower(name)]
	m := sizeWord.FindStringSubmatch(strings.ToUpper(text))
	if unit == 0 || m == nil {
		return nil, false
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return nil, false
	}
	n *= map[string]float64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[m[2]]
	e, err := classad.ParseExpr(strconv.FormatFloat(math.Ceil(n/unit), 'f', -1, 64))
	return e, err == nil
}

// sizeHint says how the value of an attribute that is a size is written, and what was meant by one that is almost called
// so; "" for another.
func sizeHint(name string) string {
	sizes := []string{"RequestMemory", "RequestDisk"}
	if near := diag.Misspelt(name, sizes); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if slices.ContainsFunc(sizes, func(s string) bool { return strings.EqualFold(s, name) }) {
		return "sizes are written as in " + name + "=4GB"
	}
	return ""
}

// signedWords makes words of a command line that begin with a sign into what flags cannot be confused
// with: the priority of "prio -5 12", and the value of "edit 12 JobPrio -5".
func signedWords(args []string) []string {
	if len(args) == 0 || args[0] != "prio" && args[0] != "edit" {
		return args
	}
	out := args[:1:1]
	for i, word := range args[1:] {
		switch {
		case word == "--":
			return append(out, args[1+i:]...)
		case args[0] == "prio" && signed.MatchString(word) && out[len(out)-1] != "-p":
			word = "--by=" + word
		case args[0] == "edit" && strings.HasPrefix(word, "-") && len(word) > 1 && word[1] >= '0' && word[1] <= '9' && len(out) > 1:
			out[len(out)-1] += "=" + word
			continue
		}
		out = append(out, word)
	}
	return out
}

var signed = regexp.MustCompile(`^[+-]\d+$`)
